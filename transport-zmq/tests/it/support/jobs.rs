//! Pushers and pullers of numbers.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Puller, Pusher};
use polywire_zmq::{Zmq, ZmqBuilder};
use tokio::time::timeout;

use super::address::own_host;
use super::engine::zmq;
use super::wait::PATIENCE;

/// Returns a builder with a short connect timeout.
pub(crate) fn builder() -> ZmqBuilder {
    zmq().connect_timeout(Duration::from_secs(5))
}

/// Makes a transport that binds any free port.
pub(crate) fn bound() -> Zmq {
    builder().bind(format!("tcp://{}:*", own_host())).build().unwrap()
}

/// Makes a transport that connects to the endpoints that others have bound.
pub(crate) fn connected(to: &[&Zmq]) -> Zmq {
    let endpoints = to.iter().flat_map(|zmq| zmq.local_endpoints());
    endpoints.fold(builder(), ZmqBuilder::connect).build().unwrap()
}

/// Opens a puller of the queue `jobs`.
pub(crate) async fn puller(zmq: &Zmq) -> Puller<u32> {
    Puller::bind(zmq, "jobs", MessagePack).await.unwrap()
}

/// Opens a pusher of the queue `jobs`.
pub(crate) async fn pusher(zmq: &Zmq) -> Pusher<MessagePack> {
    Pusher::connect(zmq, "jobs", MessagePack).timeout(PATIENCE).await.unwrap()
}

/// Waits for the next job.
pub(crate) async fn next(puller: &mut Puller<u32>) -> u32 {
    *timeout(PATIENCE, puller.next()).await.expect("a job arrives").unwrap().unwrap()
}

/// Receives jobs until one is `u32::MAX`.
pub(crate) async fn receive_all(mut puller: Puller<u32>) -> Vec<u32> {
    let mut taken = Vec::new();
    loop {
        match next(&mut puller).await {
            u32::MAX => return taken,
            job => taken.push(job),
        }
    }
}
