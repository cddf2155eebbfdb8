//! Graceful shutdown of servers and workers.

use std::sync::Arc;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::worker::Ended;
use polywire_core::{Client, Memory, Pusher, Router, Server, Transport, Worker};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

/// A timeout that no passing test reaches.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn server_that_shuts_down_finishes_running_handlers_and_refuses_calls() {
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (handler_started, handler_finish) = (started.clone(), finish.clone());
    let router = Router::new(MessagePack).method("ping", async |(): ()| Ok("pong")).method(
        "wait",
        move |(): ()| {
            let (started, finish) = (handler_started.clone(), handler_finish.clone());
            async move {
                started.notify_one();
                finish.notified().await;
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
    timeout(LONG, started.notified()).await.unwrap();
    shut_down.send(()).unwrap();
    // The server drains after it has seen the signal. Calls are refused from then on.
    let refused = async { while client.call::<String>("ping", &()).await.is_ok() {} };
    timeout(LONG, refused).await.unwrap();
    assert_eq!((handle.stats().running, serving.is_finished()), (1, false));
    finish.notify_one();
    assert_eq!(waiting.await.unwrap(), "done");
    let ended = timeout(LONG, serving).await.unwrap().unwrap();
    assert_eq!(ended.unwrap(), Ended::Drained);
}

#[tokio::test]
async fn worker_ends_with_its_transport_before_the_shutdown_signal() {
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
    let ended = timeout(LONG, working).await.unwrap().unwrap();
    assert_eq!(ended.unwrap(), Ended::Closed);
}
