//! Events of servers, workers and subscribers in the log.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::middleware::{Layer, Trace};
use polywire_core::transport::{Delivery, OnSettled, Outcome, Receipt, Settle, Settled, Suspect};
use polywire_core::{
    Address, Client, Code, Deadline, Fault, Group, Headers, Listener, Memory, Message, Overflow,
    Publisher, Pusher, Retries, Router, Server, Subscriber, Transport, Window, Worker, service_fn,
};

use crate::scripted::{Scripted, sent};
use crate::watching::{self, Fields, watch};

/// Returns the fields of the only event with this message.
fn event_of(seen: &watching::Seen, message: &str) -> Fields {
    let mut events = seen.said(message);
    assert_eq!(events.len(), 1, "{message}: {:?}", seen.events());
    events.remove(0)
}

fn router() -> Router<MessagePack> {
    Router::new(MessagePack)
        .method("fail", async |(): ()| -> Result<(), _> { panic!("out of cheese") })
        .method("sleep", async |(): ()| {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Ok(())
        })
}

#[tokio::test]
async fn panic_of_a_handler_is_an_error_with_its_message_and_method() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let server = Server::bind(&transport, "shop").await.unwrap();
    tokio::spawn(server.serve(router()));
    let client = Client::connect(&transport, "shop", MessagePack).await.unwrap();
    client.call::<()>("fail", &()).await.unwrap_err();
    let event = event_of(&seen, "a handler panicked");
    assert_eq!(
        (&*event["level"], &*event["service"], &*event["method"]),
        ("ERROR", "shop", "fail")
    );
    assert_eq!(event["panic"], "out of cheese");
}

#[tokio::test]
async fn panic_of_a_worker_is_an_error_with_its_queue() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let worker = Worker::bind(&transport, "thumbnails", MessagePack).attempts(1).await.unwrap();
    let handle = worker.handle();
    tokio::spawn(worker.work(async |(): ()| -> Result<(), _> { panic!("out of cheese") }));
    let pusher = Pusher::connect(&transport, "thumbnails", MessagePack).await.unwrap();
    pusher.push(&()).await.unwrap();
    while handle.stats().dead_lettered == 0 {
        tokio::task::yield_now().await;
    }
    for message in ["a handler panicked", "failed for good: dead-lettered"] {
        let event = event_of(&seen, message);
        assert_eq!(
            (&*event["level"], &*event["role"], &*event["name"]),
            ("ERROR", "worker", "thumbnails")
        );
    }
    let event = event_of(&seen, "failed for good: dead-lettered");
    assert_eq!(event["why"], "this was the last attempt");
    assert_eq!(event["dead_letters_of"], "the queue thumbnails");
}

/// A backend that has not kept a message yet.
#[derive(Default)]
struct Unconfirmed(Mutex<Option<OnSettled>>);

impl Settle for Unconfirmed {
    fn settle(&self, _: u64, outcome: Outcome) {
        panic!("{outcome:?}");
    }

    fn settle_then(&self, _: u64, outcome: Outcome, settled: OnSettled) {
        assert!(matches!(outcome, Outcome::DeadLetter(_)), "{outcome:?}");
        *self.0.lock().unwrap() = Some(settled);
    }
}

#[tokio::test]
async fn dead_letter_is_logged_once_it_is_kept() {
    let (seen, _guard) = watch();
    for is_server in [false, true] {
        let (mut transport, script) = Scripted::new(sent);
        (transport.can.attempts, transport.can.dead_letters) = (true, true);
        let backend = Arc::new(Unconfirmed::default());
        let delivery = Delivery::new(Message::new("x"), Receipt::new(backend.clone(), 1));
        script.incoming.send(Ok(delivery.suspect(Suspect::isolated(9)))).unwrap();
        drop(script.incoming);
        let message = if is_server {
            Server::bind(&transport, "shop").await.unwrap().serve(router()).await.unwrap();
            "dead-lettered requests: they exceeded the delivery limit"
        } else {
            let worker = Worker::bind(&transport, "jobs", MessagePack).await.unwrap();
            worker.work(async |(): ()| Ok::<_, Fault>(())).await.unwrap();
            "failed for good: dead-lettered"
        };
        assert!(seen.said(message).is_empty(), "{message}");
        let settled = backend.0.lock().unwrap().take().unwrap();
        settled(Settled::Done);
        let event = event_of(&seen, message);
        assert_eq!(seen.span_of(&event)["name"], "polywire.delivery");
    }
}

/// The trace of the messages in the tests about spans.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn traced() -> Headers {
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    [("traceparent", parent.as_str())].into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn lines_of_a_worker_stand_in_the_span_of_their_job() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let worker = Worker::bind(&transport, "thumbnails", MessagePack)
        .retries(Retries::at_once(2).then_discard())
        .await
        .unwrap();
    let handle = worker.handle();
    tokio::spawn(worker.serve(router()));
    let pusher = Pusher::connect(&transport, "thumbnails", MessagePack).await.unwrap();
    let pusher = pusher.with_message_id("order-7").unwrap();
    let pusher = pusher.with_header("traceparent", traced_parent());
    pusher.push_call("fail", &()).await.unwrap();
    while handle.stats().discarded == 0 {
        tokio::task::yield_now().await;
    }
    for (message, attempt) in [("failed; retrying", "1"), ("failed for good: discarded", "2")] {
        let span = seen.span_of(&event_of(&seen, message));
        assert_eq!((&*span["name"], &*span["attempt"]), ("polywire.delivery", attempt));
        assert_eq!((&*span["message_id"], &*span["trace_id"]), ("order-7", TRACE));
        assert_eq!(span["method"], "fail");
    }
    let span = seen.span_of(&event_of(&seen, "a handler panicked"));
    assert_eq!((&*span["message_id"], &*span["method"]), ("order-7", "fail"));
}

#[tokio::test(start_paused = true)]
async fn lines_about_a_failure_stand_in_the_span_of_a_trace_layer() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let listener = Listener::bind(&transport, "weather", MessagePack)
        .group(Group::new("forecast").unwrap())
        .attempts(1)
        .await
        .unwrap();
    let handle = listener.handle();
    let service = service_fn(async |_| Err(Fault::new(Code::Application, "no").into()));
    tokio::spawn(listener.serve(Trace::listener("weather").layer(service)));
    let weather = Publisher::connect(&transport, "weather", MessagePack).await.unwrap();
    weather.publish("paris.wind", &7).await.unwrap();
    while handle.stats().dead_lettered == 0 {
        tokio::task::yield_now().await;
    }
    let event = event_of(&seen, "failed for good: dead-lettered");
    assert_eq!(event["dead_letters_of"], "the group forecast of the channel weather");
    let span = seen.span_of(&event);
    assert_eq!((&*span["name"], &*span["polywire.topic"]), ("messaging.process", "paris.wind"));
    assert!(span.contains_key("messaging.message.id") && span.contains_key("trace_id"), "{span:?}");
}

#[tokio::test(start_paused = true)]
async fn lines_of_a_server_stand_in_the_span_of_their_request() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let server = Server::bind(&transport, "shop").await.unwrap();
    tokio::spawn(server.serve(router()));
    let client = Client::connect(&transport, "shop", MessagePack).await.unwrap();
    let call =
        client.request("fail").message_id("order-7").header("traceparent", &*traced_parent());
    call.call::<()>(&()).await.unwrap_err();
    let span = seen.span_of(&event_of(&seen, "a handler panicked"));
    assert_eq!((&*span["name"], &*span["method"]), ("polywire.delivery", "fail"));
    assert_eq!((&*span["message_id"], &*span["trace_id"]), ("order-7", TRACE));
    client.call::<()>("sleep", &()).await.unwrap_err();
    while seen.said("requests expired").is_empty() {
        tokio::task::yield_now().await;
    }
    let span = seen.span_of(&event_of(&seen, "requests expired"));
    assert!(span["message_id"].starts_with("call-") && span["method"] == "sleep", "{span:?}");
}

fn traced_parent() -> String {
    traced().get("traceparent").unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn handler_that_outlasts_its_caller_is_a_warning() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let server = Server::bind(&transport, "shop").await.unwrap();
    let handle = server.handle();
    tokio::spawn(server.serve(router()));
    let client = Client::connect(&transport, "shop", MessagePack).await.unwrap();
    client.call::<()>("sleep", &()).await.unwrap_err();
    while handle.stats().running > 0 {
        tokio::task::yield_now().await;
    }
    let event = event_of(&seen, "requests expired");
    assert_eq!(
        (&*event["level"], &*event["service"], &*event["method"]),
        ("WARN", "shop", "sleep")
    );
    assert_eq!((&*event["what"], &*event["count"]), ("ran until its deadline", "1"));
}

/// Serves these deliveries.
async fn serve(deliveries: impl IntoIterator<Item = Delivery>) {
    let (transport, script) = Scripted::new(sent);
    let server = Server::bind(&transport, "shop").at_most_once().await.unwrap();
    for delivery in deliveries {
        script.incoming.send(Ok(delivery)).unwrap();
    }
    drop(script.incoming);
    server.serve(router()).await.unwrap();
}

fn request(deadline_ms: u64) -> Message {
    Message::request(Address::new("fail").unwrap(), Deadline::after_ms(deadline_ms))
}

#[tokio::test(start_paused = true)]
async fn expired_requests_are_logged_once_and_counted() {
    let (seen, _guard) = watch();
    serve((0..100).map(|_| Delivery::settled(request(0)))).await;
    let event = event_of(&seen, "requests expired");
    assert_eq!((&*event["level"], &*event["service"], &*event["method"]), ("WARN", "shop", "fail"));
    assert_eq!(event["what"], "arrived after its deadline");
}

#[tokio::test(start_paused = true)]
async fn refused_requests_are_logged_with_the_reason() {
    let (seen, _guard) = watch();
    serve((0..100).map(|_| Delivery::settled(request(30_000)).attempt(2))).await;
    let event = event_of(&seen, "refused requests");
    assert_eq!((&*event["level"], &*event["service"], &*event["method"]), ("WARN", "shop", "fail"));
    assert_eq!(event["why"], "cannot run the request: an earlier delivery may have run it");
}

#[tokio::test(start_paused = true)]
async fn dropped_events_of_a_slow_subscriber_are_logged_once_in_a_while() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let subscriber: Subscriber<u32> = Subscriber::bind(&transport, "weather", MessagePack)
        .window(Window::new(1))
        .overflow(Overflow::DropOldest)
        .await
        .unwrap();
    let weather = Publisher::connect(&transport, "weather", MessagePack).await.unwrap();
    let flood = async |from: u64| {
        for n in 0..100_u32 {
            weather.publish("paris", &n).await.unwrap();
        }
        while subscriber.dropped() < from {
            tokio::task::yield_now().await;
        }
    };
    flood(99).await;
    let event = event_of(&seen, "dropped events: the subscriber is too slow");
    assert_eq!(
        (&*event["level"], &*event["channel"], &*event["policy"]),
        ("WARN", "weather", "DropOldest")
    );

    tokio::time::advance(Duration::from_secs(60)).await;
    flood(199).await;
    let events = seen.said("dropped events: the subscriber is too slow");
    let counts: Vec<_> = events.iter().map(|event| &*event["count"]).collect();
    assert_eq!(counts, ["1", "99"]);
}

#[tokio::test]
async fn start_drain_and_stop_are_logged() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let server = Server::bind(&transport, "shop").await.unwrap();
    let handle = server.handle();
    let serving = tokio::spawn(server.serve(router()));
    handle.drain().await;
    serving.await.unwrap().unwrap();
    let worker = Worker::bind(&transport, "thumbnails", MessagePack).await.unwrap();
    let working = tokio::spawn(worker.work(async |(): ()| Ok(())));
    transport.close().await.unwrap();
    working.await.unwrap().unwrap();

    let log: Vec<_> = seen
        .events()
        .into_iter()
        .filter(|event| event["level"] == "INFO")
        .map(|event| {
            [&event["role"], &event["name"], &event["message"]].map(String::clone).join(" ")
        })
        .collect();
    let lifecycle = |label: &str| {
        ["started", "draining", "stopped"].map(|message| format!("{label} {message}"))
    };
    assert_eq!(log, [lifecycle("server shop"), lifecycle("worker thumbnails")].concat());
    let whys: Vec<_> = seen.events().iter().filter_map(|event| event.get("why").cloned()).collect();
    assert_eq!(whys, ["a drain was requested", "the transport is closed"]);
}

#[tokio::test(start_paused = true)]
async fn panics_that_repeat_are_counted_in_one_line() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let server = Server::bind(&transport, "shop").await.unwrap();
    tokio::spawn(server.serve(router()));
    let client = Client::connect(&transport, "shop", MessagePack).await.unwrap();
    for _ in 0..50 {
        client.call::<()>("fail", &()).await.unwrap_err();
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    client.call::<()>("fail", &()).await.unwrap_err();
    let lines = seen.said("a handler panicked");
    let counts: Vec<_> = lines.iter().map(|line| &*line["count"]).collect();
    assert_eq!(counts, ["1", "50"]);
}
