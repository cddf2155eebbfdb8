//! Calls that run at most once: callers that cannot be asked, that are gone, or that reconnect.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, ReplyMode};
use polywire_codec::MessagePack;
use polywire_core::rpc::ServerHandle;
use polywire_core::{Address, Router, Server, at_most_once};
use tokio::sync::Semaphore;

use crate::context::{PATIENCE, restored, through_proxy, until};
use crate::endpoints::{builder, client};
use crate::engine::{channel, publish};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker caller_with_direct_replies_is_not_asked_and_gets_its_reply,
        broker request_of_a_caller_that_is_gone_does_not_begin,
        broker request_of_an_earlier_process_of_a_client_does_not_begin,
        broker permitted_call_of_a_caller_that_reconnects_is_answered,
    ]
}

/// Starts a server whose method `wait` runs at most once, and replies once the gate has a permit.
async fn serve_once(amqp: &Amqp, service: &str, gate: &Arc<Semaphore>) -> ServerHandle {
    let server = Server::bind(amqp, Address::new(service).unwrap()).await.unwrap();
    let (handle, gate) = (server.handle(), gate.clone());
    let wait = move |n: u32| {
        let gate = gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(n)
        }
    };
    tokio::spawn(server.serve(Router::new(MessagePack).method("wait", at_most_once(wait))));
    handle
}

async fn caller_with_direct_replies_is_not_asked_and_gets_its_reply(url: String) {
    let direct = Amqp::builder(&url).unwrap().reply_mode(ReplyMode::Direct).build().await.unwrap();
    let amqp = Amqp::connect(&url).await.unwrap();
    let server = serve_once(&amqp, "once.direct", &Arc::new(Semaphore::new(9))).await;
    let client = client(&direct, "once.direct").await;
    let start = Instant::now();
    assert_eq!(client.call::<u32>("wait", &1).await.unwrap(), 1);
    let marked = client.request("wait").at_most_once().call::<u32>(&2).await;
    assert_eq!((marked.unwrap(), server.stats().refused), (2, 0));
    // No question waited for an answer.
    assert!(start.elapsed() < Duration::from_secs(10));
}

async fn request_of_a_caller_that_is_gone_does_not_begin(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    // A handler that began would take the permit.
    let gate = Arc::new(Semaphore::new(1));
    let server = serve_once(&amqp, "once.gone", &gate).await;
    let request = BasicProperties::default()
        .with_type("wait".into())
        .with_content_type("application/msgpack".into())
        .with_correlation_id("0-1".into())
        .with_reply_to("polywire.reply.ask.gone".into());
    publish(&channel(&url).await, "polywire.once.gone", request).await;
    until(|| server.stats().refused == 1 || server.stats().answered == 1).await;
    assert_eq!((server.stats().refused, gate.available_permits()), (1, 1));
}

/// The next process of the client has the reply queue, and denies at once.
async fn request_of_an_earlier_process_of_a_client_does_not_begin(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let gate = Arc::new(Semaphore::new(1));
    let server = serve_once(&amqp, "once.earlier", &gate).await;
    let calling = builder(&url).client_name("restarted").build().await.unwrap();
    let client = client(&calling, "once.earlier").await;
    let request = BasicProperties::default()
        .with_type("wait".into())
        .with_content_type("application/msgpack".into())
        .with_correlation_id("0-1".into())
        .with_reply_to("polywire.reply.ask..restarted".into());
    let start = Instant::now();
    publish(&channel(&url).await, "polywire.once.earlier", request).await;
    until(|| server.stats().refused == 1 || server.stats().answered == 1).await;
    assert_eq!((server.stats().refused, gate.available_permits()), (1, 1));
    // A question without an answer ends after 10 seconds.
    assert!(start.elapsed() < Duration::from_secs(8), "after {:?}", start.elapsed());
    assert_eq!(client.call::<u32>("wait", &2).await.unwrap(), 2);
}

async fn permitted_call_of_a_caller_that_reconnects_is_answered(url: String) {
    let (proxy, builder) = through_proxy(&url).await;
    let calling = builder.build().await.unwrap();
    let serving = Amqp::connect(&url).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let server = serve_once(&serving, "once.cut", &gate).await;
    let client = client(&calling, "once.cut").await;
    let mut events = calling.events();
    let mut call = client.request("wait").timeout(PATIENCE).start::<u32>(&1).unwrap();
    call.sent().await;
    until(|| server.stats().running == 1).await;
    proxy.sever();
    restored(&mut events).await;
    // Longer than a caller needs to find a server gone.
    tokio::time::sleep(Duration::from_secs(3)).await;
    gate.add_permits(1);
    assert_eq!(call.await.unwrap(), 1);
}
