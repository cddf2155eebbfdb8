//! Settings at the edges of their types: each works, or is refused where it is set.

mod broadcasts;
mod call_settings;
mod extremes;
mod kit;
mod layers;
mod served;

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::rpc::Deduplication;
use polywire_core::transport::{Capabilities, RetryAfter};
use polywire_core::{
    CallError, Code, DeadLetters, Event, Fault, Group, Job, Limits, Listener, Memory, Message,
    Publisher, Puller, Pusher, Retries, Router, Server, Subscriber, Transport, Window, Worker,
};

use self::extremes::{Row, any, check_complete, good, good_or_too_little, row, try_all};
use self::served::{client, router};

/// The longest time that a use of a setting may take on the paused clock.
const PATIENCE: Duration = Duration::from_secs(100 * 24 * 60 * 60);

#[tokio::test(start_paused = true)]
async fn extremes_of_each_setting_work() {
    let rows: Vec<_> = [
        broadcasts::rows(),
        call_settings::rows(),
        servers(),
        jobs_and_events(),
        kit::rows(),
        layers::rows(),
        plain(),
    ]
    .into_iter()
    .flatten()
    .collect();
    try_all(&rows, PATIENCE).await;
    check_complete(
        "polywire_core",
        &["Limits", "transport::kit::EnvelopeLimits"],
        &NO_SETTINGS,
        &rows,
    );
}

/// Functions whose numbers come from the peer, from a backend or from this crate.
const NO_SETTINGS: [&str; 22] = [
    "health::CanaryEcho::new",
    "health::EndpointProbe::canary",
    "Deadline::earlier_by",
    "message::SentAt::from_bytes",
    "transport::Settle::settle_then",
    "transport::Suspect::isolated",
    "Code::from_u8",
    "message::DeadLetterRecord::new",
    "message::History::dead_lettered",
    "message::History::with_redriven",
    "transport::kit::HeldDeliveries::copied",
    "transport::kit::HeldDeliveries::get",
    "transport::kit::HeldDeliveries::release",
    "transport::kit::HeldDeliveries::settle",
    "transport::DeadLetterQueue::discard",
    "transport::DeadLetterQueue::redrive",
    "transport::Asked::new",
    "transport::Delivery::attempt",
    "transport::Question::new",
    "transport::Receipt::new",
    "transport::Settle::settle",
    "middleware::Backoff::after",
];

/// Calls a server twice.
async fn call_twice(memory: &Memory) -> Result<i64, CallError> {
    let client = client(memory).await;
    client.call::<i64>("double", &1).await?;
    client.call("double", &2).await
}

async fn deduplicated(deduplication: Deduplication) -> Result<(), String> {
    let memory = Memory::new();
    let server = Server::bind(&memory, "service").deduplicate(deduplication).await.unwrap();
    tokio::spawn(server.serve(router()));
    good(call_twice(&memory).await)
}

async fn limited(limits: Limits) -> Result<i64, CallError> {
    let memory = Memory::new().with_limits(limits);
    tokio::spawn(Server::bind(&memory, "service").await.unwrap().serve(router()));
    call_twice(&memory).await
}

fn servers() -> Vec<Row> {
    vec![
        row("rpc::ServerBind::deliveries", async |x| {
            let memory = Memory::new();
            let server = Server::bind(&memory, "service").deliveries(x.u32()).await.unwrap();
            tokio::spawn(server.serve(router()));
            good(call_twice(&memory).await)
        }),
        row("Window::new", async |x| {
            let memory = Memory::new();
            let window = Window::new(x.usize());
            let server = Server::bind(&memory, "service").window(window).await.unwrap();
            tokio::spawn(server.serve(router()));
            good(call_twice(&memory).await)
        }),
        row("rpc::Deduplication::calls", |x| {
            deduplicated(Deduplication::default().calls(x.usize()))
        }),
        row("rpc::Deduplication::bytes", |x| {
            deduplicated(Deduplication::default().bytes(x.usize()))
        }),
        row("rpc::Deduplication::time", |x| deduplicated(Deduplication::default().time(x.time()))),
        row("Limits.body_max", async |x| {
            good_or_too_little(
                x,
                limited(Limits { body_max: x.usize(), ..Limits::default() }).await,
                "TooLarge",
            )
        }),
        row("Limits.frames_max", async |x| {
            good_or_too_little(
                x,
                limited(Limits { frames_max: x.usize(), ..Limits::default() }).await,
                "TooLarge",
            )
        }),
        row("Limits.headers_max", async |x| {
            good_or_too_little(
                x,
                limited(Limits { headers_max: x.usize(), ..Limits::default() }).await,
                "TooLarge",
            )
        }),
        row("Limits.header_bytes_max", async |x| {
            let limits = Limits { header_bytes_max: x.usize(), ..Limits::default() };
            good_or_too_little(x, limited(limits).await, "TooLarge")
        }),
    ]
}

/// Lets a job fail until it has no attempts left.
async fn fails(retries: Retries) -> Result<(), String> {
    let memory = Memory::new();
    let worker = Worker::bind(&memory, "jobs", MessagePack).retries(retries).await.unwrap();
    let handle = worker.handle();
    let working =
        tokio::spawn(worker.work(async |_: u8| Err::<(), _>(Fault::new(Code::Internal, "no"))));
    let pusher = Pusher::connect(&memory, "jobs", MessagePack).await.unwrap();
    pusher.push(&1).await.unwrap();
    let done = async {
        while handle.stats().retried + handle.stats().dead_lettered + handle.stats().discarded == 0
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    done.await;
    working.abort();
    Ok(())
}

fn jobs_and_events() -> Vec<Row> {
    let base = || Retries::new(3).immediate(0);
    vec![
        row("Retries::new", |x| fails(Retries::new(x.u32()))),
        row("Retries::at_once", |x| fails(Retries::at_once(x.u32().min(1000)))),
        row("Retries::immediate", |x| fails(Retries::new(3).immediate(x.u32()))),
        row("Retries::backoff", move |x| fails(base().backoff(x.time(), x.time()))),
        row("Retries::factor", move |x| async move {
            for factor in [f64::from(x.u8()), f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]
            {
                fails(base().factor(factor)).await?;
                fails(base().backoff(Duration::ZERO, Duration::MAX).factor(factor)).await?;
            }
            Ok(())
        }),
        row("Retries::jitter", move |x| async move {
            for part in [f64::from(x.u8()), f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                fails(base().jitter(part)).await?;
            }
            Ok(())
        }),
        row("pipeline::WorkerBind::attempts", async |x| {
            let memory = Memory::new();
            good(Worker::bind(&memory, "jobs", MessagePack).attempts(x.u32()).await)
        }),
        row("pubsub::ListenerBind::attempts", async |x| {
            let memory = Memory::new();
            let group = Group::new("group").unwrap();
            let listener = Listener::bind(&memory, "events", MessagePack).filter("#").group(group);
            good(listener.attempts(x.u32()).await)
        }),
        row("pipeline::PusherConnect::timeout", async |x| {
            let memory = Memory::new();
            let pusher = Pusher::connect(&memory, "jobs", MessagePack).timeout(x.time()).await;
            good_or_too_little(x, pusher.unwrap().push(&1).await, "DeadlineExceeded")
        }),
        row("Pusher::with_priority", async |x| {
            let memory = Memory::new();
            let pusher = Pusher::connect(&memory, "jobs", MessagePack).await.unwrap();
            any(pusher.with_priority(x.u8()).push(&1).await)
        }),
        row("Pusher::with_ttl", async |x| {
            let memory = Memory::new();
            let pusher = Pusher::connect(&memory, "jobs", MessagePack).await.unwrap();
            pusher.with_ttl(x.time()).push(&1).await.unwrap();
            pusher.push(&2).await.unwrap();
            let mut jobs = Puller::<u8>::bind(&memory, "jobs", MessagePack).await.unwrap();
            good(jobs.next().await.unwrap())
        }),
        row("Publisher::with_ttl", async |x| {
            let memory = Memory::new();
            let events = Publisher::connect(&memory, "events", MessagePack).await.unwrap();
            any(events.with_ttl(x.time()).publish("topic", &1).await)
        }),
        row("pubsub::PublisherConnect::timeout", async |x| {
            let memory = Memory::new();
            let events = Publisher::connect(&memory, "events", MessagePack).timeout(x.time()).await;
            good_or_too_little(x, events.unwrap().publish("topic", &1).await, "DeadlineExceeded")
        }),
        row("Publisher::with_priority", async |x| {
            let memory = Memory::new();
            let events = Publisher::connect(&memory, "events", MessagePack).await.unwrap();
            any(events.with_priority(x.u8()).publish("topic", &1).await)
        }),
        row("Job::retry_after", async |x| {
            let memory = Memory::new();
            let mut jobs = Puller::<u8>::bind(&memory, "jobs", MessagePack).await.unwrap();
            let pusher = Pusher::connect(&memory, "jobs", MessagePack).await.unwrap();
            pusher.push(&1).await.unwrap();
            let job: Job<u8> = jobs.next().await.unwrap().unwrap();
            job.retry_after(x.time(), "later").unwrap();
            good(jobs.next().await.unwrap())
        }),
        row("transport::RetryAfter::new", async |x| {
            let memory = Memory::new();
            let mut jobs = Puller::<u8>::bind(&memory, "jobs", MessagePack).await.unwrap();
            let pusher = Pusher::connect(&memory, "jobs", MessagePack).await.unwrap();
            pusher.push(&1).await.unwrap();
            let (_, _, receipt) = jobs.next().await.unwrap().unwrap().into_parts();
            let mut retry = RetryAfter::new(x.time(), "later");
            retry.after = x.time();
            receipt.settle(polywire_core::transport::Outcome::Retry(Box::new(retry)));
            good(jobs.next().await.unwrap())
        }),
        row("Event::retry_after", async |x| {
            let memory = Memory::new();
            let group = Group::new("group").unwrap();
            let events = Subscriber::<u8>::bind(&memory, "events", MessagePack);
            let mut events = events.filter("#").group(group).await.unwrap();
            let publisher = Publisher::connect(&memory, "events", MessagePack).await.unwrap();
            publisher.publish("topic", &1).await.unwrap();
            let event: Event<u8> = events.next().await.unwrap().unwrap();
            event.retry_after(x.time(), "later").unwrap();
            good(events.next().await.unwrap())
        }),
        row("health::HealthReader::canary", async |x| {
            let memory = Memory::new();
            let server = Server::bind(&memory, "adder").await.unwrap();
            let serving = tokio::spawn(server.serve(Router::new(MessagePack)).into_future());
            let report = memory.health().canary(x.time()).await;
            serving.abort();
            let canary = report.endpoints.into_iter().next().unwrap();
            good_or_too_little(x, canary.outcome, "DeadlineExceeded")
        }),
        row("DeadLetters::look", async |x| {
            let memory = with_jobs().await;
            let letters = DeadLetters::of_queue(&memory, "jobs").unwrap();
            good(letters.look(x.usize()).await)
        }),
        row("DeadLetters::redrive", async |x| {
            let memory = with_jobs().await;
            let letters = DeadLetters::of_queue(&memory, "jobs").unwrap();
            good(letters.redrive(x.usize(), |_| true).await)
        }),
        row("DeadLetters::discard", async |x| {
            let memory = with_jobs().await;
            let letters = DeadLetters::of_queue(&memory, "jobs").unwrap();
            good(letters.discard(x.usize(), |_| true).await)
        }),
    ]
}

/// Returns a transport on which the queue `jobs` was used.
async fn with_jobs() -> Memory {
    let memory = Memory::new();
    drop(Puller::<u8>::bind(&memory, "jobs", MessagePack).await.unwrap());
    memory
}

fn plain() -> Vec<Row> {
    vec![
        row("Capabilities::least", async |x| good(Some(Capabilities::least(x.usize())).ok_or(()))),
        row("Message::with_priority", async |x| {
            any(Some(Message::default().with_priority(x.u8())).ok_or(()))
        }),
    ]
}
