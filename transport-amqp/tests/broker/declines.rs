//! Declined requests: the next server gets them, and the last decline is the reply.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::rpc::ServerHandle;
use polywire_core::{Client, Context, Fault, Router, Server, Transport, Window};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::context::{PATIENCE, until};
use crate::endpoints::client;
use crate::engine::until_declared;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker declined_request_waits_for_a_busy_server_until_its_deadline,
        broker decline_of_the_last_server_is_the_reply,
    ]
}

/// Starts a server with a window of 1. Without a gate it declines all requests. Otherwise it
/// replies with the remaining seconds, once the gate has a permit for the request.
async fn serve_film(
    amqp: &Amqp,
    service: &'static str,
    gate: Option<Arc<Semaphore>>,
) -> ServerHandle {
    let server = Server::bind(amqp, service).window(Window::new(1)).await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack).method("film", move |context: Context, _: u32| {
        let gate = gate.clone();
        async move {
            let Some(gate) = gate else { return Err(Fault::declined("no lens")) };
            gate.acquire().await.unwrap().forget();
            Ok(context.remaining().unwrap().as_secs())
        }
    });
    tokio::spawn(server.serve(router));
    handle
}

async fn declined_request_waits_for_a_busy_server_until_its_deadline(url: String) {
    let (amqp, other) = (Amqp::connect(&url).await.unwrap(), Amqp::connect(&url).await.unwrap());
    let gate = Arc::new(Semaphore::new(0));
    let busy = serve_film(&amqp, "declined.busy", Some(gate.clone())).await;
    let client: Client<MessagePack> = client(&amqp, "declined.busy").await;
    let start =
        || client.request("film").timeout(Duration::from_mins(2)).start::<u64>(&1_u32).unwrap();
    let first = start();
    until(|| busy.stats().running == 1).await;
    let declining = serve_film(&other, "declined.busy", None).await;
    let second = start();
    until(|| declining.stats().declined == 1).await;
    // The server that declined the request gets it again and again, and delays it each time: for
    // 16 ms, for 64 ms, and for 256 ms.
    until_declared(&url, "polywire.retry.declined.busy..256").await;
    assert!(!second.is_finished());
    gate.add_permits(2);
    assert!(first.await.unwrap() <= 120);
    let left = second.await.unwrap();
    assert!((30..=120).contains(&left), "{left} s are left of 120");
    assert_eq!(declining.stats().declined, 1);
    amqp.close().await.unwrap();
    other.close().await.unwrap();
}

async fn decline_of_the_last_server_is_the_reply(url: String) {
    let (amqp, other) = (Amqp::connect(&url).await.unwrap(), Amqp::connect(&url).await.unwrap());
    let gate = Arc::new(Semaphore::new(0));
    let busy = serve_film(&amqp, "declined.last", Some(gate.clone())).await;
    let client = client(&other, "declined.last").await;
    let first = client.request("film").start::<u64>(&1_u32).unwrap();
    until(|| busy.stats().running == 1).await;
    let declining = serve_film(&other, "declined.last", None).await;
    let second = client.request("film").start::<u64>(&2_u32).unwrap();
    until(|| declining.stats().declined == 1).await;
    // Its running request goes to the other server, which declines it as well.
    amqp.close().await.unwrap();
    for call in [first, second] {
        let error = timeout(PATIENCE, call).await.unwrap().unwrap_err();
        assert_eq!((error.is_declined(), &*error.fault().unwrap().message), (true, "no lens"));
    }
    other.close().await.unwrap();
}
