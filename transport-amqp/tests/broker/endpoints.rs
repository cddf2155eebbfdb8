//! Endpoint handles for tests: servers, clients, pushers and pullers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use polywire_amqp::{Amqp, AmqpBuilder, QueueKind};
use polywire_codec::MessagePack;
use polywire_core::pipeline::DeadLetter;
use polywire_core::rpc::ServerHandle;
use polywire_core::{
    Address, Client, Context, DeadLetters, Event, Job, Publisher, Puller, Pusher, Router, Server,
    Subscriber, Window,
};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::context::PATIENCE;

/// Both kinds of queue, with names for the queues of a test.
pub(crate) const KINDS: [(&str, QueueKind); 2] =
    [("classic", QueueKind::Classic), ("quorum", QueueKind::Quorum)];

pub(crate) fn builder(url: &str) -> AmqpBuilder {
    Amqp::builder(url).unwrap()
}

/// Connects a transport whose queues have this kind.
pub(crate) async fn connected(url: &str, kind: QueueKind) -> Amqp {
    builder(url).queue_kind(kind).build().await.unwrap()
}

/// Starts a server that doubles numbers, and says whether a request was redelivered.
pub(crate) async fn serve(amqp: &Amqp, service: &str) -> ServerHandle {
    let server = Server::bind(amqp, Address::new(service).unwrap()).await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack)
        .method("double", |n: u32| async move { Ok(2 * n) })
        .method("again", |context: Context, _: u32| async move { Ok(context.is_redelivered()) });
    tokio::spawn(server.serve(router));
    handle
}

/// Starts a server with a window of 1. Method `wait` replies once the gate has a permit for it.
pub(crate) async fn serve_gated(amqp: &Amqp, service: &str, gate: &Arc<Semaphore>) -> ServerHandle {
    let server =
        Server::bind(amqp, Address::new(service).unwrap()).window(Window::new(1)).await.unwrap();
    let handle = server.handle();
    let gate = gate.clone();
    let router = Router::new(MessagePack)
        .method("wait", move |n: u32| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(n)
            }
        })
        .method("double", |n: u32| async move { Ok(2 * n) });
    tokio::spawn(server.serve(router));
    handle
}

pub(crate) async fn client(amqp: &Amqp, service: &str) -> Client<MessagePack> {
    Client::connect(amqp, Address::new(service).unwrap(), MessagePack).await.unwrap()
}

/// Calls `double` until a call succeeds.
pub(crate) async fn eventually_answered(client: &Client<MessagePack>) {
    let calling = async {
        while client.request("double").timeout(Duration::from_secs(2)).call::<u32>(&1).await.ok()
            != Some(2)
        {}
    };
    timeout(PATIENCE, calling).await.expect("a call succeeds in the end");
}

pub(crate) async fn pusher(amqp: &Amqp, queue: &str) -> Pusher<MessagePack> {
    Pusher::connect(amqp, queue, MessagePack).timeout(PATIENCE).await.unwrap()
}

pub(crate) async fn puller(amqp: &Amqp, queue: &str, window: usize) -> Puller<u32> {
    Puller::bind(amqp, queue, MessagePack).window(Window::new(window)).await.unwrap()
}

/// Pushes jobs, all of which the broker confirms.
pub(crate) async fn push(amqp: &Amqp, queue: &str, jobs: impl IntoIterator<Item = u32>) {
    let pusher = pusher(amqp, queue).await;
    let jobs: Vec<_> = jobs.into_iter().collect();
    try_join_all(jobs.iter().map(|job| pusher.push(job))).await.unwrap();
}

/// Receives the next job.
pub(crate) async fn next_job(jobs: &mut Puller<u32>) -> Job<u32> {
    timeout(PATIENCE, jobs.next()).await.expect("a job arrives").unwrap().unwrap()
}

/// Receives the next job and acknowledges it.
pub(crate) async fn acked_job(jobs: &mut Puller<u32>) -> u32 {
    let job = next_job(jobs).await;
    let number = *job;
    job.ack();
    number
}

/// Receives `count` jobs, acknowledges them, and returns them in ascending order. A job that
/// arrives twice is in the result twice, in place of another one.
pub(crate) async fn acked_jobs(jobs: &mut Puller<u32>, count: usize) -> Vec<u32> {
    let mut acked = Vec::new();
    while acked.len() < count {
        acked.push(acked_job(jobs).await);
    }
    acked.sort_unstable();
    acked
}

/// Returns the dead letters of a job queue, once there are at least `count`. Asserts that there are
/// no more.
pub(crate) async fn dead_letters(amqp: &Amqp, queue: &str, count: usize) -> Vec<DeadLetter> {
    let queue = DeadLetters::of_queue(amqp, queue).unwrap();
    let looking = async {
        loop {
            let dead_letters = queue.look(count + 1).await.unwrap();
            if dead_letters.len() >= count {
                return dead_letters;
            }
        }
    };
    let dead_letters = timeout(PATIENCE, looking).await.expect("the jobs are dead-lettered");
    assert_eq!(dead_letters.len(), count);
    dead_letters
}

pub(crate) async fn publisher(amqp: &Amqp, channel: &str) -> Publisher<MessagePack> {
    Publisher::connect(amqp, channel, MessagePack).timeout(PATIENCE).await.unwrap()
}

pub(crate) async fn subscriber(amqp: &Amqp, channel: &str, filters: &[&str]) -> Subscriber<u32> {
    let binding = Subscriber::bind(amqp, channel, MessagePack);
    filters.iter().fold(binding, |binding, filter| binding.filter(*filter)).await.unwrap()
}

/// Receives the next event.
pub(crate) async fn next_event(subscriber: &mut Subscriber<u32>) -> Event<u32> {
    timeout(PATIENCE, subscriber.next()).await.expect("an event arrives").unwrap().unwrap()
}
