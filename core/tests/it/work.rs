//! Pushers, workers and subscribers over a scripted transport, for behavior that the in-memory
//! transport does not have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::transport::{Delivery, Outcome, Receipt};
use polywire_core::{
    Address, Code, Error, ErrorKind, Fault, Group, Message, Overflow, Publisher, Pusher, Retries,
    Subscriber, Window, Worker, at_most_once,
};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::scripted::{Scripted, SettleLog, never_confirmed, sent};

/// Returns a job with an encoded number.
fn job(n: u8) -> Message {
    Message::new(vec![n])
}

fn event(topic: &str, n: u8) -> Delivery {
    Delivery::settled(job(n).with_topic(Address::new(topic).unwrap()))
}

#[tokio::test(start_paused = true)]
async fn push_without_room_times_out() {
    let (transport, _script) = Scripted::new(never_confirmed);
    let pusher = Pusher::connect(&transport, "jobs", MessagePack)
        .timeout(Duration::from_secs(3))
        .await
        .unwrap();
    let (transport, _script) = Scripted::new(never_confirmed);
    let publisher = Publisher::connect(&transport, "events", MessagePack).await.unwrap();
    let start = Instant::now();
    let error = pusher.push(&1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(!error.is_unsent(), "the outcome is unknown");
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    assert_eq!(publisher.publish("a", &1).await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(start.elapsed(), Duration::from_secs(33));
}

#[tokio::test]
async fn attempts_are_bounded_and_outcomes_settled() {
    let (transport, script) = Scripted::new(sent);
    let log = Arc::new(SettleLog::default());
    let worker = Worker::bind(&transport, "jobs", MessagePack).attempts(2).await.unwrap();
    let handle = worker.handle();
    for (tag, attempt) in [(1, 1), (2, 2), (3, 7)] {
        script.deliver(Delivery::new(job(0), Receipt::new(log.clone(), tag)).attempt(attempt));
    }
    script.deliver(Delivery::new(job(1), Receipt::new(log.clone(), 4)));
    script.deliver(Delivery::new(Message::new("no number"), Receipt::new(log.clone(), 5)));
    drop(script);
    let fault = || Fault::new(Code::Application, "zero");
    worker
        .work(move |n: u8| async move { if n == 0 { Err(fault()) } else { Ok(()) } })
        .await
        .unwrap();
    let settled = log.0.lock().unwrap().clone();
    let discarded = |tag| (tag, Outcome::Discard);
    assert_eq!(
        settled,
        [(1, Outcome::Requeue), discarded(2), discarded(3), (4, Outcome::Ack), discarded(5)]
    );
    let stats = handle.stats();
    assert_eq!((stats.done, stats.retried, stats.discarded, stats.running), (1, 1, 3, 0));
}

/// One delivery too many proves nothing: a worker may have requeued the job without running it.
#[tokio::test]
async fn job_with_one_attempt_is_dead_lettered_by_its_third_delivery() {
    let (mut transport, script) = Scripted::new(sent);
    (transport.can.attempts, transport.can.dead_letters) = (true, true);
    let log = Arc::new(SettleLog::default());
    let worker = Worker::bind(&transport, "jobs", MessagePack).attempts(1).await.unwrap();
    for (tag, attempt) in [(1, 2), (2, 3)] {
        script.deliver(Delivery::new(job(0), Receipt::new(log.clone(), tag)).attempt(attempt));
    }
    drop(script);
    worker.work(async |_: u8| Ok(())).await.unwrap();
    let settled = log.0.lock().unwrap().clone();
    let [(1, Outcome::Ack), (2, Outcome::DeadLetter(_))] = &settled[..] else {
        panic!("{settled:?}");
    };
}

#[tokio::test]
async fn job_that_runs_at_most_once_is_not_begun_by_a_later_delivery() {
    for discards in [false, true] {
        let (mut transport, script) = Scripted::new(sent);
        (transport.can.attempts, transport.can.dead_letters) = (true, true);
        transport.can.settlement = true;
        let log = Arc::new(SettleLog::default());
        let retries = Retries::at_once(5);
        let retries = if discards { retries.then_discard() } else { retries };
        let worker = Worker::bind(&transport, "jobs", MessagePack).retries(retries).await.unwrap();
        for tag in 1..=2 {
            let delivery = Delivery::new(job(7), Receipt::new(log.clone(), tag));
            script.deliver(delivery.attempt(u32::try_from(tag).unwrap()));
        }
        drop(script);
        let begun = Arc::new(AtomicU32::new(0));
        let counter = begun.clone();
        let handler = move |_: u8| {
            counter.fetch_add(1, Ordering::Relaxed);
            async { Ok::<(), Fault>(()) }
        };
        worker.work(at_most_once(handler)).await.unwrap();
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        let mut settled = log.0.lock().unwrap().clone();
        settled.sort_by_key(|(tag, _)| *tag);
        match &settled[..] {
            [(1, Outcome::Ack), (2, Outcome::Discard)] if discards => {}
            [(1, Outcome::Ack), (2, Outcome::DeadLetter(info))] if !discards => {
                assert!(info.error.contains("an earlier delivery may have run it"), "{info:?}");
            }
            _ => panic!("{settled:?}"),
        }
    }
}

#[tokio::test]
async fn header_of_a_push_wins_over_that_of_its_pusher() {
    let (transport, mut script) = Scripted::new(sent);
    let pusher = Pusher::connect(&transport, "jobs", MessagePack).await.unwrap();
    let pusher = pusher.with_header("tenant", "all").with_header("region", "north");
    pusher.push_with(&1, [("tenant", "one")].into_iter().collect()).await.unwrap();
    let job = script.request().await;
    assert_eq!(job.headers.get("tenant"), Some("one"));
    assert_eq!(job.headers.get("region"), Some("north"));
}

#[tokio::test]
async fn expired_job_is_kept_only_if_it_has_a_time_to_live() {
    let (mut transport, mut script) = Scripted::new(sent);
    transport.can.dead_letters = true;
    let pusher = Pusher::connect(&transport, "jobs", MessagePack).await.unwrap();
    let pusher = pusher.with_keep_expired();
    pusher.push(&1).await.unwrap();
    pusher.with_ttl(Duration::from_secs(1)).push(&2).await.unwrap();
    let kept = [script.request().await.keep_expired, script.request().await.keep_expired];
    assert_eq!(kept, [false, true]);
}

#[tokio::test]
async fn without_settlement_a_job_has_one_attempt() {
    let (transport, script) = Scripted::new(sent);
    let worker = Worker::bind(&transport, "jobs", MessagePack).await.unwrap();
    let handle = worker.handle();
    script.deliver(Delivery::settled(job(0)));
    drop(script);
    worker.work(|_: u8| async { Err::<(), _>(Fault::new(Code::Application, "no")) }).await.unwrap();
    assert_eq!((handle.stats().retried, handle.stats().discarded), (0, 1));
}

#[tokio::test]
async fn jobs_that_cannot_be_requeued_run_before_the_end() {
    let (transport, script) = Scripted::new(sent);
    let worker = Worker::bind(&transport, "jobs", MessagePack).await.unwrap();
    let handle = worker.handle();
    let draining = tokio::spawn({
        let handle = handle.clone();
        async move { handle.drain().await }
    });
    tokio::task::yield_now().await;
    // These jobs arrive after the worker has stopped.
    for n in 0..3 {
        script.deliver(Delivery::settled(job(n)));
    }
    drop(script);
    worker.work(|_: u8| async { Ok(()) }).await.unwrap();
    draining.await.unwrap();
    assert_eq!(handle.stats().done, 3);
}

#[tokio::test]
async fn window_bounds_the_jobs_that_run_before_the_end() {
    let (transport, script) = Scripted::new(sent);
    let worker = Worker::bind(&transport, "jobs", MessagePack).window(Window::new(2));
    let worker = worker.await.unwrap();
    let handle = worker.handle();
    let mut draining = Box::pin(handle.drain());
    assert!(futures_util::poll!(&mut draining).is_pending());
    // These jobs arrive after the worker has stopped.
    for n in 0..5 {
        script.deliver(Delivery::settled(job(n)));
    }
    drop(script);
    let gate = Arc::new(Semaphore::new(0));
    let handler_gate = gate.clone();
    let working = tokio::spawn(worker.work(move |_: u8| {
        let gate = handler_gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(())
        }
    }));
    for done in 0..=3 {
        while handle.stats().done < done || handle.stats().running < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(handle.stats().running, 2);
        gate.add_permits(1);
    }
    gate.add_permits(1);
    working.await.unwrap().unwrap();
    draining.await;
    assert_eq!(handle.stats().done, 5);
}

#[tokio::test]
async fn events_that_match_no_filter_are_dropped() {
    let (transport, script) = Scripted::new(sent);
    let mut subscriber: Subscriber<u8> =
        Subscriber::bind(&transport, "events", MessagePack).filter("a.*").await.unwrap();
    for (topic, n) in [("b.x", 1), ("a", 2), ("a.x", 3), ("a.x.y", 4)] {
        script.deliver(event(topic, n));
    }
    assert_eq!(*subscriber.next().await.unwrap().unwrap(), 3);
    subscriber.filters().add("b.#").await.unwrap();
    script.deliver(event("b.x", 5));
    assert_eq!(*subscriber.next().await.unwrap().unwrap(), 5);
    drop(script);
    assert!(subscriber.next().await.is_none());
}

#[tokio::test]
async fn events_without_a_group_are_acknowledged_on_arrival() {
    let (transport, script) = Scripted::new(sent);
    let log = Arc::new(SettleLog::default());
    let mut subscriber: Subscriber<u8> =
        Subscriber::bind(&transport, "events", MessagePack).await.unwrap();
    let Delivery { message, .. } = event("a", 1);
    script.deliver(Delivery::new(message, Receipt::new(log.clone(), 1)));
    let unsettled = subscriber.next().await.unwrap().unwrap().requeue().unwrap_err();
    assert_eq!(unsettled.error().kind(), ErrorKind::Unsupported);
    assert_eq!(*unsettled.into_inner(), 1);
    assert_eq!(*log.0.lock().unwrap(), [(1, Outcome::Ack)]);
}

#[tokio::test]
async fn undecodable_event_is_an_error_and_the_stream_continues() {
    let (transport, script) = Scripted::new(sent);
    let mut subscriber: Subscriber<u8> =
        Subscriber::bind(&transport, "events", MessagePack).await.unwrap();
    script.deliver(Delivery::settled(job(1)));
    script.fail(Error::new(ErrorKind::Disconnected, "events may have been missed"));
    let mut garbled = event("a", 1);
    garbled.message.body = "no number".into();
    script.deliver(garbled);
    script.deliver(event("a", 2));
    for kind in [ErrorKind::Codec, ErrorKind::Disconnected, ErrorKind::Codec] {
        assert_eq!(subscriber.next().await.unwrap().unwrap_err().kind(), kind);
    }
    assert_eq!(*subscriber.next().await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn event_of_a_group_without_a_topic_is_dead_lettered() {
    let (mut transport, script) = Scripted::new(sent);
    (transport.can.groups, transport.can.dead_letters) = (true, true);
    let log = Arc::new(SettleLog::default());
    let subscriber = Subscriber::<u8>::bind(&transport, "events", MessagePack);
    let mut subscriber = subscriber.group(Group::new("all").unwrap()).await.unwrap();
    script.deliver(Delivery::new(job(1), Receipt::new(log.clone(), 1)));
    assert_eq!(subscriber.next().await.unwrap().unwrap_err().kind(), ErrorKind::Codec);
    let settled = log.0.lock().unwrap().clone();
    let [(1, Outcome::DeadLetter(info))] = &settled[..] else { panic!("{settled:?}") };
    assert_eq!(info.reason, DeadLetterReason::Unreadable);
}

#[tokio::test]
async fn group_with_a_dropping_policy_is_refused() {
    let memory = polywire_core::Memory::new();
    let subscriber = Subscriber::<u8>::bind(&memory, "events", MessagePack)
        .group(Group::new("all").unwrap())
        .overflow(Overflow::DropOldest)
        .window(Window::new(1));
    assert_eq!(subscriber.await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn full_subscriber_yields_one_error_for_missed_events() {
    for (overflow, left) in [(Overflow::DropOldest, 4), (Overflow::DropNewest, 1)] {
        let (transport, script) = Scripted::new(sent);
        let subscriber = Subscriber::<u8>::bind(&transport, "events", MessagePack);
        let mut subscriber = subscriber.overflow(overflow).window(Window::new(1)).await.unwrap();
        for n in 1..=4 {
            script.deliver(event("a", n));
            script.fail(Error::new(ErrorKind::Disconnected, "events may have been missed"));
        }
        drop(script.incoming);
        let (mut events, mut errors) = (Vec::new(), 0);
        // A task applies the policy. The task has read all events when the counter shows it.
        while subscriber.dropped() < 3 {
            tokio::task::yield_now().await;
        }
        while let Some(next) = subscriber.next().await {
            next.map_or_else(|_| errors += 1, |event| events.push(*event));
        }
        assert_eq!((events, errors, subscriber.dropped()), (vec![left], 1, 3), "{overflow:?}");
    }
}

#[tokio::test]
async fn first_malformed_filter_fails_the_binding() {
    let memory = polywire_core::Memory::new();
    let error = Subscriber::<u8>::bind(&memory, "events", MessagePack)
        .filter("a..b")
        .filter("c d")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("a..b"), "{error}");
}
