//! Panics beside the call of a handler: of drops, of payloads, of the transport.

use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::transport::{Delivery, Outcome, Receipt, Sending, Settle};
use polywire_core::worker::Ended;
use polywire_core::{
    Address, CallError, Client, Code, Deadline, Error, ErrorKind, Listener, Memory, Message,
    Publisher, Pusher, Reply, Request, Retries, Router, Server, Service, Worker, service_fn,
};

use crate::scripted::{self, Scripted};

const BRIEF: Duration = Duration::from_secs(1);

/// Panics with itself when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic_any(Self);
    }
}

/// A service whose methods panic each in another way, and whose method `fine` does not.
fn router() -> Router<MessagePack> {
    Router::new(MessagePack)
        .method("payload", async |(): ()| -> Result<(), _> { panic_any(Bomb) })
        .method("held", |(): ()| async {
            let _bomb = Bomb;
            Ok(std::future::pending::<u32>().await)
        })
        .method("fine", async |(): ()| Ok(5))
}

/// A service that panics before it returns its future.
struct Eager;

impl Service for Eager {
    #[allow(clippy::manual_async_fn, reason = "the panic comes before the future")]
    fn call(&self, _: Request) -> impl Future<Output = Result<Reply, CallError>> + Send {
        assert!(std::env::args().count() == 0, "too early");
        async { Ok(Reply::default()) }
    }
}

#[tokio::test(start_paused = true)]
async fn server_outlives_payloads_and_drops_that_panic() {
    let transport = Memory::new();
    let server = Server::bind(&transport, "shop").await.unwrap();
    let handle = server.handle();
    let serving = tokio::spawn(server.serve(router()));
    let client = Client::connect(&transport, "shop", MessagePack).await.unwrap();
    let fault = client.call::<()>("payload", &()).await.unwrap_err();
    assert_eq!(fault.fault().unwrap().kind, "Panic");
    let late = client.request("held").timeout(BRIEF).call::<()>(&()).await;
    assert!(matches!(late, Err(CallError::DeadlineExceeded(_))));
    let mut dropped = client.request("held").start::<()>(&()).unwrap();
    dropped.sent().await;
    while handle.stats().running == 0 {
        tokio::task::yield_now().await;
    }
    drop(dropped);
    while handle.stats().cancelled == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.call::<u32>("fine", &()).await.unwrap(), 5);
    let stats = handle.stats();
    assert_eq!((stats.panicked, stats.running, stats.expired), (1, 0, 1), "{stats:?}");
    handle.drain().await;
    assert_eq!(serving.await.unwrap().unwrap(), Ended::Drained);
}

#[tokio::test]
async fn service_that_panics_when_it_is_dropped_has_drained() {
    let transport = Memory::new();
    let server = Server::bind(&transport, "shop").await.unwrap();
    let handle = server.handle();
    let bomb = Arc::new(Bomb);
    let serving = tokio::spawn(server.serve(service_fn(move |_| {
        let _last = &bomb;
        async { Ok(Reply::default()) }
    })));
    handle.drain().await;
    assert_eq!(serving.await.unwrap().unwrap(), Ended::Drained);
}

#[tokio::test]
async fn service_that_panics_before_its_future_answers_with_a_fault() {
    let transport = Memory::new();
    let server = Server::bind(&transport, "shop").await.unwrap();
    tokio::spawn(server.serve(Eager));
    let client = Client::connect(&transport, "shop", MessagePack).await.unwrap();
    let fault = client.call::<()>("any", &()).await.unwrap_err();
    assert_eq!(fault.fault().unwrap().code, Code::Internal);
}

#[tokio::test(start_paused = true)]
async fn panics_of_jobs_and_events_are_counted_attempts() {
    let transport = Memory::new();
    let runs = Arc::new(AtomicU32::new(0));
    let count = runs.clone();
    let panicking = move |_: Request| {
        count.fetch_add(1, Ordering::SeqCst);
        async { panic_any(Bomb) }
    };
    let worker = Worker::bind(&transport, "jobs", MessagePack).retries(Retries::at_once(3));
    let worker = worker.await.unwrap();
    let handle = worker.handle();
    let working = tokio::spawn(worker.serve(service_fn(panicking)));
    let pusher = Pusher::connect(&transport, "jobs", MessagePack).await.unwrap();
    pusher.push(&1).await.unwrap();
    while handle.stats().dead_lettered == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((runs.load(Ordering::SeqCst), handle.stats().panicked), (3, 3));
    handle.drain().await;
    assert_eq!(working.await.unwrap().unwrap(), Ended::Drained);

    // Two handlers of one event panic with payloads that panic.
    let events = Router::new(MessagePack)
        .on("#", async |_: u32| -> Result<(), _> { panic_any(Bomb) })
        .on("a", async |_: u32| -> Result<(), _> { panic_any(Bomb) });
    let listener = Listener::bind(&transport, "news", MessagePack).await.unwrap();
    let handle = listener.handle();
    let listening = tokio::spawn(listener.serve(events));
    let publisher = Publisher::connect(&transport, "news", MessagePack).await.unwrap();
    publisher.publish("a", &1_u32).await.unwrap();
    while handle.stats().panicked == 0 {
        tokio::task::yield_now().await;
    }
    handle.drain().await;
    assert_eq!(listening.await.unwrap().unwrap(), Ended::Drained);
}

/// Counts the outcomes, the last of which is kept.
#[derive(Default)]
struct Outcomes(std::sync::Mutex<Vec<Outcome>>);

impl Settle for Outcomes {
    fn settle(&self, _: u64, outcome: Outcome) {
        self.0.lock().unwrap().push(outcome);
    }
}

fn panics_when_sending() -> Sending<'static> {
    panic!("the confirm timeout is too long")
}

#[tokio::test]
async fn request_whose_reply_makes_the_transport_panic_is_not_requeued() {
    let (transport, script) = Scripted::new(panics_when_sending);
    let server = Server::bind(&transport, "shop").await.unwrap();
    let (handle, outcomes) = (server.handle(), Arc::new(Outcomes::default()));
    let mut request =
        Message::request(Address::new("fine").unwrap(), Deadline::after(60 * BRIEF)).with_id(CALL);
    request.reply_to = Some(polywire_core::message::ReplyTo::new("caller"));
    MessagePackCall::encode(&mut request);
    let receipt = Receipt::new(outcomes.clone(), 1);
    script.incoming.send(Ok(Delivery::new(request, receipt))).unwrap();
    drop(script.incoming);
    assert_eq!(server.serve(router()).await.unwrap(), Ended::Closed);
    assert_eq!(*outcomes.0.lock().unwrap(), [Outcome::Ack]);
    assert_eq!((handle.stats().undelivered, handle.stats().running), (1, 0));
}

#[tokio::test]
async fn error_that_ends_the_stream_ends_serving() {
    let (transport, script) = Scripted::new(scripted::sent);
    let server = Server::bind(&transport, "shop").await.unwrap();
    script.fail(Error::new(ErrorKind::Codec, "cannot decode"));
    script.fail(Error::new(ErrorKind::Denied, "the broker refused").fatal());
    let error = server.serve(router()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn signal_that_panics_drains() {
    let transport = Memory::new();
    let server = Server::bind(&transport, "shop").await.unwrap();
    let serving = server.serve(router()).with_graceful_shutdown(async { panic_any(Bomb) });
    assert_eq!(serving.await.unwrap(), Ended::Drained);
}

const CALL: polywire_core::message::CallId = polywire_core::message::CallId(7);

/// Encodes the arguments of a call without arguments.
struct MessagePackCall;

impl MessagePackCall {
    fn encode(request: &mut Message) {
        polywire_core::Dialect::encode_call(&MessagePack, &(), request).unwrap();
    }
}
