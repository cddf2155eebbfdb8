//! Handlers that are stopped before their end, as their layers record them.

#![allow(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::middleware::{Layer, LogFailures, Trace};
use polywire_core::worker::Serving;
use polywire_core::{
    Client, Code, Context, Memory, Publisher, Pusher, Router, Server, Transport, Worker,
};
use tokio::sync::Notify;

use crate::watching::{self, Seen, watch};

/// Announces each handler that begins.
type Begun = Arc<Notify>;

fn service(begun: &Begun) -> Router<MessagePack> {
    let begun = begun.clone();
    Router::new(MessagePack)
        .method("wait", move |_: Context, (): ()| {
            let begun = begun.clone();
            async move {
                begun.notify_one();
                pending::<()>().await;
                Ok(())
            }
        })
        .method("fail", async |(): ()| -> Result<(), _> { panic!("out of cheese") })
}

/// Binds a server with both layers.
async fn serving(memory: &Memory, begun: &Begun) -> Serving {
    let log = LogFailures::of("bank").layer(service(begun));
    Server::bind(memory, "bank").await.unwrap().serve(Trace::server("bank").layer(log))
}

async fn client(memory: &Memory) -> Client<MessagePack> {
    Client::connect(memory, "bank", MessagePack).await.unwrap()
}

/// Waits until a handler is stopped: its layers are dropped with it.
async fn recorded(seen: &Seen, span: &str) -> (watching::Fields, watching::Fields) {
    let of_layer = || {
        let mut events = seen.events();
        events.retain(|event| event.contains_key("duration_ms"));
        events
    };
    until(|| of_layer().len() == 1).await;
    (seen.span(span), of_layer().remove(0))
}

/// Waits until a condition holds, for an hour of the paused clock.
async fn until(holds: impl Fn() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3600), looking).await.expect("it is recorded");
}

#[tokio::test(start_paused = true)]
async fn handler_that_outlasts_its_deadline_is_recorded() {
    let (seen, _guard) = watch();
    let (memory, begun) = (Memory::new(), Begun::default());
    tokio::spawn(serving(&memory, &begun).await);
    client(&memory).await.call::<()>("wait", &()).await.unwrap_err();
    let (span, event) = recorded(&seen, "rpc.server").await;
    assert_eq!((&*span["error.type"], &*span["otel.status_code"]), ("DeadlineExceeded", "ERROR"));
    assert_eq!((&*event["error"], &*event["level"]), ("DeadlineExceeded", "WARN"));
    assert_eq!((&*event["method"], &*event["duration_ms"]), ("wait", "30000"));
    assert_eq!(event["message_id"], span["polywire.message_id"]);
}

#[tokio::test(start_paused = true)]
async fn handler_that_is_stopped_for_an_expected_reason_is_logged_at_debug() {
    let (seen, _guard) = watch();
    let (memory, begun) = (Memory::new(), Begun::default());
    let log = LogFailures::of("bank").expect_code(Code::DeadlineExceeded);
    let server = Server::bind(&memory, "bank").await.unwrap();
    tokio::spawn(server.serve(Trace::server("bank").layer(log.layer(service(&begun)))));
    client(&memory).await.call::<()>("wait", &()).await.unwrap_err();
    let (_, event) = recorded(&seen, "rpc.server").await;
    assert_eq!((&*event["error"], &*event["level"]), ("DeadlineExceeded", "DEBUG"));
}

#[tokio::test(start_paused = true)]
async fn handler_whose_caller_cancels_is_recorded() {
    let (seen, _guard) = watch();
    let (memory, begun) = (Memory::new(), Begun::default());
    tokio::spawn(serving(&memory, &begun).await);
    let client = client(&memory).await;
    let call = client.request("wait").message_id("order-7").start::<()>(&()).unwrap();
    begun.notified().await;
    drop(call);
    let (span, event) = recorded(&seen, "rpc.server").await;
    assert_eq!(span["error.type"], "Cancelled");
    assert!(!span.contains_key("otel.status_code"), "{span:?}");
    assert_eq!((&*event["error"], &*event["level"]), ("Cancelled", "DEBUG"));
    assert_eq!((&*event["message_id"], &*span["polywire.message_id"]), ("order-7", "order-7"));
}

#[tokio::test(start_paused = true)]
async fn handler_of_a_server_that_is_dropped_is_recorded() {
    let (seen, _guard) = watch();
    let (memory, begun) = (Memory::new(), Begun::default());
    let serving = tokio::spawn(serving(&memory, &begun).await);
    let client = client(&memory).await;
    let _call = client.request("wait").start::<()>(&()).unwrap();
    begun.notified().await;
    serving.abort();
    let (span, event) = recorded(&seen, "rpc.server").await;
    assert_eq!((&*span["error.type"], &*span["otel.status_code"]), ("Drained", "ERROR"));
    assert_eq!((&*event["error"], &*event["level"]), ("Drained", "WARN"));
}

#[tokio::test(start_paused = true)]
async fn handler_of_a_worker_that_is_dropped_is_recorded() {
    let (seen, _guard) = watch();
    let (memory, begun) = (Memory::new(), Begun::default());
    let worker = Worker::bind(&memory, "jobs", MessagePack).await.unwrap();
    let log = LogFailures::of("jobs").layer(service(&begun));
    let working = tokio::spawn(worker.serve(Trace::worker("jobs").layer(log)));
    let pusher = Pusher::connect(&memory, "jobs", MessagePack).await.unwrap();
    pusher.with_message_id("order-7").unwrap().push_call("wait", &()).await.unwrap();
    begun.notified().await;
    working.abort();
    let (span, event) = recorded(&seen, "messaging.process").await;
    assert_eq!((&*span["error.type"], &*event["error"]), ("Drained", "Drained"));
    assert_eq!((&*event["message_id"], &*span["messaging.message.id"]), ("order-7", "order-7"));
    assert_eq!(span["polywire.method"], "wait");
}

#[tokio::test(start_paused = true)]
async fn handler_that_panics_is_recorded() {
    let (seen, _guard) = watch();
    let (memory, begun) = (Memory::new(), Begun::default());
    tokio::spawn(serving(&memory, &begun).await);
    client(&memory).await.call::<()>("fail", &()).await.unwrap_err();
    let (span, event) = recorded(&seen, "rpc.server").await;
    assert_eq!((&*span["error.type"], &*event["error"]), ("Internal", "Internal"));
}

#[tokio::test(start_paused = true)]
async fn call_that_its_caller_drops_is_recorded_at_the_client() {
    let (seen, _guard) = watch();
    let (memory, begun) = (Memory::new(), Begun::default());
    let server = Server::bind(&memory, "bank").await.unwrap();
    tokio::spawn(server.serve(service(&begun)));
    let client =
        client(&memory).await.layer(&LogFailures::of("bank")).layer(&Trace::client("bank"));
    for timeout in [None, Some(Duration::from_secs(1))] {
        let call = client.request("wait").message_id("order-7");
        let call = match timeout {
            Some(timeout) => call.timeout(timeout),
            None => call,
        };
        let call = call.start::<()>(&()).unwrap();
        begun.notified().await;
        match timeout {
            Some(_) => drop(call.await.unwrap_err()),
            None => drop(call),
        }
    }
    let errors = || {
        let mut spans = seen.spans("rpc.client");
        spans.retain(|span| span.contains_key("error.type"));
        let mut errors: Vec<_> = spans.iter().map(|span| span["error.type"].clone()).collect();
        errors.sort();
        errors
    };
    until(|| errors().len() == 2).await;
    assert_eq!(errors(), ["Cancelled", "DeadlineExceeded"]);
}

#[tokio::test(start_paused = true)]
async fn handler_that_ends_is_no_failure() {
    let (seen, _guard) = watch();
    let memory = Memory::new();
    let worker = Worker::bind(&memory, "jobs", MessagePack).await.unwrap();
    let handle = worker.handle();
    let router = Router::new(MessagePack).method("do", async |(): ()| Ok(()));
    let log = LogFailures::of("jobs").layer(router);
    let working = tokio::spawn(worker.serve(Trace::worker("jobs").layer(log)));
    let pusher = Pusher::connect(&memory, "jobs", MessagePack).await.unwrap();
    pusher.push_call("do", &()).await.unwrap();
    while handle.stats().done == 0 {
        tokio::task::yield_now().await;
    }
    handle.drain().await;
    working.await.unwrap().unwrap();
    assert!(!seen.span("messaging.process").contains_key("error.type"));
    assert!(seen.events().iter().all(|event| !event.contains_key("duration_ms")));
    // The publisher's side of the id.
    let weather = Publisher::connect(&memory, "weather", MessagePack).await.unwrap();
    let weather = weather.with_trace(&Trace::publisher("weather"));
    weather.with_message_id("seven").unwrap().publish("a.b", &7).await.unwrap();
    assert_eq!(seen.span("messaging.send")["messaging.message.id"], "seven");
    memory.close().await.unwrap();
}
