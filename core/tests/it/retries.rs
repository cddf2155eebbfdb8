//! Retries of jobs, events and requests over the in-memory transport, with a paused clock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::transport::{Delivery, Outcome, Receipt, Settle};
use polywire_core::worker::WorkHandle;
use polywire_core::{
    Address, Client, Code, Context, DeadLetters, ErrorKind, Fault, Group, Listener, Memory,
    Message, Publisher, Puller, Pusher, Retries, Router, Server, Subscriber, Transport, Window,
    Worker,
};
use tokio::time::Instant;

use crate::scripted::{Scripted, sent};

const SECOND: Duration = Duration::from_secs(1);

/// Times and contexts of attempts.
#[derive(Clone, Default)]
struct Attempts(Arc<Mutex<Vec<(Instant, Context)>>>);

impl Attempts {
    fn record(&self, context: Context) {
        self.0.lock().unwrap().push((Instant::now(), context));
    }

    fn seconds(&self) -> Vec<u64> {
        let attempts = self.0.lock().unwrap();
        attempts.iter().map(|(at, _)| (*at - attempts[0].0).as_secs()).collect()
    }

    fn last(&self) -> Context {
        self.0.lock().unwrap().last().unwrap().1.clone()
    }
}

/// Starts a worker whose handler always fails with the number of the attempt.
async fn failing(memory: &Memory, retries: Option<Retries>) -> (WorkHandle, Attempts) {
    let worker = Worker::bind(memory, "jobs", MessagePack);
    let worker = match retries {
        Some(retries) => worker.retries(retries).await.unwrap(),
        None => worker.await.unwrap(),
    };
    let (handle, attempts) = (worker.handle(), Attempts::default());
    let log = attempts.clone();
    tokio::spawn(worker.work(move |context: Context, _: u32| {
        let fault = Fault::new(Code::Application, format!("attempt {}", context.attempt));
        log.record(context);
        async move { Err::<(), _>(fault) }
    }));
    (handle, attempts)
}

async fn push(memory: &Memory, job: u32) {
    Pusher::connect(memory, "jobs", MessagePack).await.unwrap().push(&job).await.unwrap();
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn failing_job_is_retried_at_once_then_after_growing_pauses_then_dead_lettered() {
    let memory = Memory::new();
    let (handle, attempts) = failing(&memory, Some(Retries::default().jitter(0.0))).await;
    push(&memory, 7).await;
    until(|| handle.stats().dead_lettered == 1).await;
    assert_eq!(attempts.seconds(), [0, 0, 1, 5, 21]);
    assert_eq!((handle.stats().retried, handle.stats().discarded), (4, 0));
    let last = attempts.last();
    let history = last.history.unwrap();
    assert!(
        history.first_error.unwrap().contains("attempt 1")
            && history.last_error.unwrap().contains("attempt 4")
    );
    let dead_letters = DeadLetters::of_queue(&memory, "jobs").unwrap().look(9).await.unwrap();
    let [dead_letter] = &dead_letters[..] else { panic!("{dead_letters:?}") };
    assert_eq!(dead_letter.read::<u32>(&MessagePack).unwrap(), 7);
    assert_eq!(
        (dead_letter.reason(), dead_letter.attempts(), dead_letter.redriven()),
        (DeadLetterReason::Exhausted, 5, 0)
    );
    assert!(dead_letter.first_error().unwrap().contains("attempt 1"), "{dead_letter:?}");
    assert!(dead_letter.last_error().unwrap().contains("attempt 5"), "{dead_letter:?}");
    assert!(dead_letter.at().unwrap().elapsed().unwrap() < 60 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn default_policy_dead_letters_and_another_discards() {
    let memory = Memory::new();
    let (handle, _) = failing(&memory, None).await;
    push(&memory, 1).await;
    until(|| handle.stats().dead_lettered == 1).await;
    handle.drain().await;
    let (handle, attempts) = failing(&memory, Some(Retries::at_once(2).then_discard())).await;
    push(&memory, 2).await;
    until(|| handle.stats().discarded == 1).await;
    assert_eq!(attempts.seconds(), [0, 0]);
    assert_eq!(DeadLetters::of_queue(&memory, "jobs").unwrap().look(9).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn other_jobs_overtake_a_delayed_job() {
    let memory = Memory::new();
    let mut jobs: Puller<u32> = Puller::bind(&memory, "jobs", MessagePack).await.unwrap();
    push(&memory, 1).await;
    push(&memory, 2).await;
    jobs.next().await.unwrap().unwrap().retry_after(3 * SECOND, "not yet").unwrap();
    let start = Instant::now();
    let second = jobs.next().await.unwrap().unwrap();
    assert_eq!((*second, start.elapsed()), (2, Duration::ZERO));
    second.ack();
    let first = jobs.next().await.unwrap().unwrap();
    assert_eq!((*first, first.context().attempt), (1, 2));
    assert!(start.elapsed() >= 3 * SECOND, "{:?}", start.elapsed());
    assert_eq!(first.context().history.as_ref().unwrap().last_error.as_deref(), Some("not yet"));
}

#[tokio::test(start_paused = true)]
async fn jobs_of_higher_priority_are_delivered_first_also_after_a_requeue() {
    let memory = Memory::new();
    let pusher = Pusher::connect(&memory, "jobs", MessagePack).await.unwrap();
    for (job, priority) in [(1, 0), (2, 5), (3, 0), (4, 9), (5, 5)] {
        pusher.with_priority(priority).push(&job).await.unwrap();
    }
    let mut jobs: Puller<u32> = Puller::bind(&memory, "jobs", MessagePack).await.unwrap();
    jobs.next().await.unwrap().unwrap().requeue().unwrap();
    let mut order = Vec::new();
    while order.len() < 5 {
        let job = jobs.next().await.unwrap().unwrap();
        order.push(*job);
        job.ack();
    }
    assert_eq!(order, [4, 2, 5, 1, 3]);
    let (transport, _script) = Scripted::new(sent);
    let pusher = Pusher::connect(&transport, "jobs", MessagePack).await.unwrap().with_priority(1);
    assert_eq!(pusher.push(&1).await.unwrap_err().detail("capability"), Some("priorities"));
}

#[tokio::test(start_paused = true)]
async fn delayed_job_goes_to_a_later_puller() {
    let memory = Memory::new();
    let mut leaving: Puller<u32> = Puller::bind(&memory, "jobs", MessagePack).await.unwrap();
    push(&memory, 1).await;
    leaving.next().await.unwrap().unwrap().retry_after(3 * SECOND, "not yet").unwrap();
    drop(leaving);
    let mut other: Puller<u32> = Puller::bind(&memory, "jobs", MessagePack).await.unwrap();
    assert_eq!(*other.next().await.unwrap().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn job_that_crashes_its_workers_is_dead_lettered() {
    let memory = Memory::new();
    push(&memory, 1).await;
    for _ in 0..3 {
        // The puller receives the job and is dropped.
        let mut jobs: Puller<u32> = Puller::bind(&memory, "jobs", MessagePack).await.unwrap();
        drop(jobs.next().await);
    }
    let (handle, attempts) = failing(&memory, Some(Retries::new(3))).await;
    until(|| handle.stats().dead_lettered == 1).await;
    assert!(attempts.0.lock().unwrap().is_empty());
    let dead_letters = DeadLetters::of_queue(&memory, "jobs").unwrap().look(9).await.unwrap();
    assert_eq!(
        (dead_letters[0].reason(), dead_letters[0].attempts()),
        (DeadLetterReason::Crashed, 4)
    );
}

#[tokio::test(start_paused = true)]
async fn undecodable_job_is_dead_lettered_with_the_error() {
    let memory = Memory::new();
    let (handle, attempts) = failing(&memory, None).await;
    let pusher = Pusher::connect(&memory, "jobs", MessagePack).await.unwrap();
    pusher.push("no number").await.unwrap();
    until(|| handle.stats().dead_lettered == 1).await;
    handle.drain().await;
    let mut jobs: Puller<u32> = Puller::bind(&memory, "jobs", MessagePack).await.unwrap();
    pusher.push("nor this").await.unwrap();
    assert_eq!(jobs.next().await.unwrap().unwrap_err().kind(), ErrorKind::Codec);
    let dead_letters = DeadLetters::of_queue(&memory, "jobs").unwrap().look(9).await.unwrap();
    assert_eq!(dead_letters.len(), 2);
    for dead_letter in &dead_letters {
        assert_eq!(dead_letter.reason(), DeadLetterReason::Unreadable);
        assert!(dead_letter.last_error().unwrap().contains("u32"), "{dead_letter:?}");
    }
    assert!(attempts.0.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn redriven_event_goes_to_its_group_alone() {
    let memory = Memory::new();
    let group = || Group::new("billing").unwrap();
    let listener = Listener::bind(&memory, "orders", MessagePack)
        .group(group())
        .retries(Retries::new(1))
        .await
        .unwrap();
    let (handle, attempts) = (listener.handle(), Attempts::default());
    let log = attempts.clone();
    tokio::spawn(listener.listen(move |context: Context, _: u32| {
        let redriven = context.redriven();
        log.record(context);
        async move { if redriven > 0 { Ok(()) } else { Err(Fault::new(Code::Application, "no")) } }
    }));
    let mut own: Subscriber<u32> = Subscriber::bind(&memory, "orders", MessagePack).await.unwrap();
    let orders = Publisher::connect(&memory, "orders", MessagePack).await.unwrap();
    orders.publish("7.paid", &1).await.unwrap();
    until(|| handle.stats().dead_lettered == 1).await;
    let dead = DeadLetters::of_group(&memory, "orders", "billing").unwrap();
    assert_eq!(
        dead.redrive(9, |dead_letter| dead_letter.message().topic.as_ref().unwrap().as_str()
            == "7.paid")
            .await
            .unwrap(),
        1
    );
    until(|| handle.stats().done == 1).await;
    assert_eq!(attempts.last().topic.unwrap().as_str(), "7.paid");
    orders.publish("8.paid", &2).await.unwrap();
    assert_eq!(*own.next().await.unwrap().unwrap(), 1);
    assert_eq!(*own.next().await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn unsupported_outcome_is_refused_and_returns_the_job() {
    let (transport, script) = Scripted::new(sent);
    let worker = Worker::bind(&transport, "jobs", MessagePack).retries(Retries::at_once(2));
    assert_eq!(worker.await.unwrap_err().detail("capability"), Some("settlement"));
    let worker =
        Worker::bind(&transport, "jobs", MessagePack).retries(Retries::new(1).then_dead_letter());
    assert_eq!(worker.await.unwrap_err().detail("capability"), Some("dead_letters"));
    let error = DeadLetters::of_queue(&transport, "jobs").unwrap_err();
    assert_eq!(
        (error.kind(), error.detail("capability")),
        (ErrorKind::Unsupported, Some("dead_letters"))
    );
    let settled = Arc::new(SettleLog::default());
    let job = Delivery::new(Message::new(vec![5]), Receipt::new(settled.clone(), 1));
    script.incoming.send(Ok(job)).unwrap();
    let mut jobs: Puller<u8> = Puller::bind(&transport, "jobs", MessagePack).await.unwrap();
    let job = jobs.next().await.unwrap().unwrap();
    let unsettled = job.retry_after(SECOND, "later").unwrap_err();
    assert_eq!(unsettled.error().detail("capability"), Some("delayed_retries"));
    let unsettled = unsettled.into_inner().dead_letter("never").unwrap_err();
    assert_eq!(unsettled.error().detail("capability"), Some("dead_letters"));
    let job = unsettled.into_inner();
    assert_eq!(*job, 5);
    assert!(settled.0.lock().unwrap().is_empty());
    job.ack();
    assert_eq!(*settled.0.lock().unwrap(), [Outcome::Ack]);
}

#[tokio::test(start_paused = true)]
async fn request_that_crashes_its_servers_is_answered_and_dead_lettered() {
    let memory = Memory::new();
    let server = Server::bind(&memory, "fragile").deliveries(2).await.unwrap();
    let client = Client::connect(&memory, "fragile", MessagePack).await.unwrap();
    let mut crashing = Vec::new();
    for _ in 0..2 {
        let address = Address::new("fragile").unwrap();
        crashing.push(memory.peer().responder(&address, Window::new(1)).await.unwrap());
    }
    let call = tokio::spawn(async move { client.call::<u32>("crash", &1).await });
    for (_, mut requests) in crashing {
        drop(requests.next().await);
    }
    let runs = Arc::new(Mutex::new(0));
    let count = runs.clone();
    let router = Router::new(MessagePack).method("crash", move |n: u32| {
        *count.lock().unwrap() += 1;
        async move { Ok(n) }
    });
    let handle = server.handle();
    tokio::spawn(server.serve(router));
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.fault().unwrap().code, Code::Internal, "{error:?}");
    let dead = DeadLetters::of_service(&memory, "fragile").unwrap();
    let dead_letters = dead.look(9).await.unwrap();
    assert_eq!(
        (dead_letters[0].reason(), dead_letters[0].attempts()),
        (DeadLetterReason::Crashed, 3)
    );
    // The redriven request runs, and its reply goes nowhere.
    assert_eq!(dead.redrive(9, |_| true).await.unwrap(), 1);
    until(|| *runs.lock().unwrap() == 1).await;
    assert_eq!(handle.stats().refused, 1);
    assert!(dead.look(9).await.unwrap().is_empty());
}

#[tokio::test]
async fn retries_without_a_group_are_refused() {
    let memory = Memory::new();
    let listener = Listener::bind(&memory, "orders", MessagePack).retries(Retries::new(2));
    assert_eq!(listener.await.unwrap_err().kind(), ErrorKind::Config);
}

/// Log of settled deliveries.
#[derive(Default)]
struct SettleLog(Mutex<Vec<Outcome>>);

impl Settle for SettleLog {
    fn settle(&self, _: u64, outcome: Outcome) {
        self.0.lock().unwrap().push(outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn permanent_fault_ends_the_attempts() {
    for retries in [Retries::default(), Retries::default().then_discard()] {
        let memory = Memory::new();
        let worker = Worker::bind(&memory, "jobs", MessagePack).retries(retries).await.unwrap();
        let handle = worker.handle();
        tokio::spawn(worker.work(async |_: u32| {
            Err::<(), _>(Fault::new(Code::Application, "no such picture").permanent())
        }));
        push(&memory, 7).await;
        until(|| handle.stats().dead_lettered + handle.stats().discarded == 1).await;
        assert_eq!(handle.stats().retried, 0);
        let dead = DeadLetters::of_queue(&memory, "jobs").unwrap();
        let letters = dead.look(9).await.unwrap();
        assert_eq!(letters.len() as u64, handle.stats().dead_lettered);
        assert_eq!(dead.count().await.unwrap(), letters.len() as u64);
        assert!(letters.iter().all(|letter| letter.reason() == DeadLetterReason::Refused));
    }
}
