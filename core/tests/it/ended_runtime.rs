//! Handles whose runtime has ended, and drains that a handler asks for.

use std::sync::Arc;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::worker::Ended;
use polywire_core::{
    CallError, Client, ErrorKind, Memory, Overflow, Pusher, Request, Router, Server, Service,
    Subscriber, Worker, at_most_once, service_fn,
};
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(60);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn calls_after_the_end_of_their_runtime_fail_as_closed() {
    let (transport, first) = (Memory::new(), runtime());
    let (client, mut subscriber) = first.block_on(async {
        let client = Client::connect(&transport, "shop", MessagePack).await.unwrap();
        let subscriber = Subscriber::<u32>::bind(&transport, "news", MessagePack);
        (client, subscriber.overflow(Overflow::DropOldest).await.unwrap())
    });
    drop(first);
    runtime().block_on(async {
        let server = Server::bind(&transport, "shop").await.unwrap();
        tokio::spawn(server.serve(Router::new(MessagePack).method("m", async |(): ()| Ok(()))));
        let error = timeout(LONG, client.call::<()>("m", &())).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), Some(ErrorKind::Closed), "{error:?}");
        assert!(timeout(LONG, subscriber.next()).await.unwrap().is_none());
    });
}

/// The runtime that opened the client exists, and does not run.
#[test]
fn call_in_another_runtime_ends_at_its_deadline() {
    let first = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let transport = Memory::new();
    let (_server, client) = first.block_on(async {
        let server = Server::bind(&transport, "shop").await.unwrap();
        (server, Client::connect(&transport, "shop", MessagePack).await.unwrap())
    });
    runtime().block_on(async {
        let call = client.request("m").timeout(Duration::from_millis(50)).call::<()>(&());
        let error = timeout(LONG, call).await.expect("the call ends").unwrap_err();
        assert!(matches!(error, CallError::DeadlineExceeded(_)), "{error:?}");
    });
}

#[tokio::test]
async fn drain_in_a_handler_returns_and_the_server_ends() {
    let transport = Memory::new();
    let server = Server::bind(&transport, "shop").await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack).method("stop", move |(): ()| {
        let handle = handle.clone();
        async move {
            tokio::task::yield_now().await;
            handle.drain().await;
            Ok("stopping")
        }
    });
    let serving = tokio::spawn(server.serve(router));
    let client = Client::connect(&transport, "shop", MessagePack).await.unwrap();
    assert_eq!(client.call::<String>("stop", &()).await.unwrap(), "stopping");
    assert_eq!(timeout(LONG, serving).await.unwrap().unwrap().unwrap(), Ended::Drained);
}

/// The server asks its caller for the permission after the drain was requested.
#[tokio::test(start_paused = true)]
async fn call_that_runs_at_most_once_begins_while_its_server_drains() {
    let transport = Memory::new();
    let server = Server::bind(&transport, "shop").await.unwrap();
    let handle = server.handle();
    let pay = at_most_once(async |(): ()| Ok("paid"));
    let router = Arc::new(Router::new(MessagePack).method("pay", pay));
    let serving = tokio::spawn(server.serve(service_fn(move |request: Request| {
        let (handle, router) = (handle.clone(), router.clone());
        async move {
            handle.drain().await;
            router.call(request).await
        }
    })));
    let client = Client::connect(&transport, "shop", MessagePack).await.unwrap();
    assert_eq!(client.call::<String>("pay", &()).await.unwrap(), "paid");
    assert_eq!(timeout(LONG, serving).await.unwrap().unwrap().unwrap(), Ended::Drained);
}

#[tokio::test]
async fn drain_in_the_handler_of_a_job_returns_and_the_worker_ends() {
    let transport = Memory::new();
    let worker = Worker::bind(&transport, "jobs", MessagePack).await.unwrap();
    let (handle, outside) = (worker.handle(), worker.handle());
    let working = tokio::spawn(worker.work(move |_: u32| {
        let handle = handle.clone();
        async move {
            handle.drain().await;
            Ok(())
        }
    }));
    let pusher = Pusher::connect(&transport, "jobs", MessagePack).await.unwrap();
    pusher.push(&1_u32).await.unwrap();
    assert_eq!(timeout(LONG, working).await.unwrap().unwrap().unwrap(), Ended::Drained);
    timeout(LONG, outside.drain()).await.unwrap();
    assert_eq!(outside.stats().done, 1);
}
