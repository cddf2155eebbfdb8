//! Ends at work that are told to stop.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::Arc;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Client, Memory, Pusher, Router, Server, Transport, Worker};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

/// More than any of this takes.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn server_that_is_told_to_shut_down_finishes_what_runs_and_takes_no_more() {
    let (begun, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, told) = (begun.clone(), end.clone());
    let router = Router::new(MessagePack).method("ping", async |(): ()| Ok("pong")).method(
        "wait",
        move |(): ()| {
            let (begun, end) = (tell.clone(), told.clone());
            async move {
                begun.notify_one();
                end.notified().await;
                Ok("done")
            }
        },
    );
    let transport = Memory::new();
    let (shut_down, shutting_down) = oneshot::channel::<()>();
    let server = Server::bind(&transport, "shop").await.unwrap();
    let handle = server.handle();
    let serving = server.serve(router).with_graceful_shutdown(async { drop(shutting_down.await) });
    let serving = tokio::spawn(serving);
    let client = Client::connect(&transport, "shop", MessagePack).await.unwrap();
    let waiting = client.request("wait").start::<String>(&()).unwrap();
    timeout(LONG, begun.notified()).await.unwrap();
    shut_down.send(()).unwrap();
    // It drains when it has seen the signal; then nobody takes calls.
    let refused = async { while client.call::<String>("ping", &()).await.is_ok() {} };
    timeout(LONG, refused).await.unwrap();
    assert_eq!((handle.stats().running, serving.is_finished()), (1, false));
    end.notify_one();
    assert_eq!(waiting.await.unwrap(), "done");
    timeout(LONG, serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn worker_ends_with_its_transport_whether_it_is_told_or_not() {
    let transport = Memory::new();
    let worker = Worker::bind(&transport, "jobs", MessagePack).await.unwrap();
    let handle = worker.handle();
    let working = worker.work(async |_: u8| Ok(())).with_graceful_shutdown(std::future::pending());
    let working = tokio::spawn(working);
    Pusher::connect(&transport, "jobs", MessagePack).await.unwrap().push(&1_u8).await.unwrap();
    while handle.stats().done == 0 {
        tokio::task::yield_now().await;
    }
    transport.close().await.unwrap();
    timeout(LONG, working).await.unwrap().unwrap();
}
