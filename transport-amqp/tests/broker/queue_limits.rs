//! Queues with limits: on their length, on the age of messages, and on deliveries.

use std::time::Duration;

use libtest_mimic::Trial;
use polywire_amqp::{Amqp, QueueKind, QueueOptions, QueueOverflow};
use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::{
    Address, DeadLetters, Deadline, ErrorKind, Message, Puller, Pusher, Server, Transport,
};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::context::PATIENCE;
use crate::endpoints::{
    KINDS, acked_job, builder, connected, dead_letters, next_job, puller, push,
};
use crate::engine::{channel, consume, ready_count, until_delivered};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker full_queue_refuses_as_overloaded,
        node retried_job_returns_to_a_full_queue,
        broker oldest_job_leaves_a_full_queue,
        broker latest_dead_letters_are_kept,
        broker job_over_the_delivery_limit_is_dead_lettered_by_the_broker,
        broker expired_job_is_dead_lettered_on_request,
        broker dead_letter_stays_however_often_it_is_looked_at,
        broker largest_body_arrives_and_a_larger_one_is_refused,
    ]
}

async fn full_queue_refuses_as_overloaded(url: String) {
    for (name, kind) in KINDS {
        let queue = &*format!("full.{name}");
        let options = QueueOptions::new().kind(kind).length(3, QueueOverflow::Reject);
        let amqp = builder(&url).job_queue(queue, options.clone()).service_queue(queue, options);
        let amqp = amqp.build().await.unwrap();
        let pusher = Pusher::connect(&amqp, queue, MessagePack).await.unwrap();
        // A quorum queue notices its length with a delay.
        let mut accepted = 0;
        let error = loop {
            match pusher.push(&accepted).await {
                Ok(()) => accepted += 1,
                Err(error) => break error,
            }
            assert!(accepted < 100, "{kind:?}: nothing is refused");
        };
        assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Overloaded, false), "{error:?}");
        assert_eq!(error.detail("queue"), Some(format!("polywire.jobs.{queue}").as_str()));
        assert!(accepted >= 3, "{accepted} were accepted");
        let refused = full_service_refuses(&amqp, queue).await;
        assert_eq!(refused, Some(ErrorKind::Overloaded), "{kind:?}");
        let mut jobs = puller(&amqp, queue, 1).await;
        for expected in 0..accepted {
            assert_eq!(acked_job(&mut jobs).await, expected);
        }
    }
}

/// Sends requests to a service without a server until one is refused.
async fn full_service_refuses(amqp: &Amqp, service: &str) -> Option<ErrorKind> {
    drop(Server::bind(amqp, service).await.unwrap());
    let (requests, _replies) = amqp.requester(&Address::new(service).unwrap()).await.unwrap();
    for _ in 0..100 {
        let request = Message::request(Address::new("wait").unwrap(), Deadline::after(PATIENCE));
        if let Err(error) = requests.send(request).await {
            return Some(error.kind());
        }
    }
    None
}

async fn retried_job_returns_to_a_full_queue() {
    // By default, the broker moves a refused message again after three minutes.
    let node = Node::start_with_advanced(
        "",
        "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 500}]}].",
    );
    let (node, options) = (node.unwrap(), QueueOptions::new().length(1, QueueOverflow::Reject));
    let amqp = builder(&node.url()).job_queue("full.later", options).build().await.unwrap();
    let pusher = Pusher::connect(&amqp, "full.later", MessagePack).await.unwrap();
    pusher.push(&1).await.unwrap();
    let mut jobs = puller(&amqp, "full.later", 1).await;
    next_job(&mut jobs).await.retry_after(Duration::from_millis(256), "").unwrap();
    let second = async { while pusher.push(&2).await.is_err() {} };
    timeout(PATIENCE, second).await.expect("the queue has room again");
    let held = next_job(&mut jobs).await;
    let third = async { while pusher.push(&3).await.is_err() {} };
    timeout(PATIENCE, third).await.expect("the queue has room again");
    // The retried job is due, and refused as long as the third job fills the queue.
    let channel = channel(&node.url()).await;
    until_delivered(&channel, "polywire.retry.jobs.full.later..256").await;
    assert_eq!(ready_count(&channel, "polywire.jobs.full.later").await, 1);
    held.ack();
    let mut numbers = Vec::new();
    while numbers.len() < 2 {
        let job = next_job(&mut jobs).await;
        numbers.push(*job);
        job.ack();
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 3]);
}

async fn oldest_job_leaves_a_full_queue(url: String) {
    let options = QueueOptions::new().length(2, QueueOverflow::DropOldest).dead_letters();
    let amqp = builder(&url).job_queue("shifting", options).build().await.unwrap();
    let pusher = Pusher::connect(&amqp, "shifting", MessagePack).await.unwrap();
    for n in 0..3 {
        pusher.push(&n).await.unwrap();
    }
    let found = dead_letters(&amqp, "shifting", 1).await;
    assert_eq!(
        (found[0].reason(), found[0].read::<u32>(&MessagePack).unwrap()),
        (DeadLetterReason::Overflowed, 0)
    );
    let mut jobs = puller(&amqp, "shifting", 1).await;
    let discarded = next_job(&mut jobs).await;
    assert_eq!(*discarded, 1);
    // A discarded job is no dead letter, although the broker dead-letters removed jobs of this
    // queue.
    discarded.discard();
    next_job(&mut jobs).await.ack();
    drop(jobs);
    dead_letters(&amqp, "shifting", 1).await;
}

async fn latest_dead_letters_are_kept(url: String) {
    for (name, kind) in KINDS {
        let queue = &*format!("latest.{name}");
        let options = QueueOptions::new().kind(kind).dead_letters_max(2);
        let amqp = builder(&url).job_queue(queue, options).build().await.unwrap();
        let pusher = Pusher::connect(&amqp, queue, MessagePack).await.unwrap();
        let (mut jobs, dead_letter_queue) =
            (puller(&amqp, queue, 1).await, DeadLetters::of_queue(&amqp, queue).unwrap());
        for n in 0..4 {
            pusher.push(&n).await.unwrap();
            next_job(&mut jobs).await.dead_letter("").unwrap();
            // The next job is dead-lettered after this one.
            let dead_lettering = async {
                while dead_letter_queue
                    .look(9)
                    .await
                    .unwrap()
                    .last()
                    .map(|dead_letter| dead_letter.read(&MessagePack).unwrap())
                    != Some(n)
                {}
            };
            timeout(PATIENCE, dead_lettering).await.expect("the job is dead-lettered");
        }
        let found = dead_letters(&amqp, queue, 2).await;
        let numbers: Vec<u32> =
            found.iter().map(|dead_letter| dead_letter.read(&MessagePack).unwrap()).collect();
        assert_eq!(numbers, [2, 3], "{kind:?}");
    }
}

async fn job_over_the_delivery_limit_is_dead_lettered_by_the_broker(url: String) {
    let options = QueueOptions::new().kind(QueueKind::Quorum).delivery_limit(2);
    let amqp = builder(&url).job_queue("limited", options).build().await.unwrap();
    Pusher::connect(&amqp, "limited", MessagePack).await.unwrap().push(&1).await.unwrap();
    let mut jobs = puller(&amqp, "limited", 1).await;
    for attempt in 1..=3 {
        let job = next_job(&mut jobs).await;
        assert_eq!(job.context().attempt, attempt);
        job.requeue().unwrap();
    }
    let found = dead_letters(&amqp, "limited", 1).await;
    assert_eq!(
        (found[0].reason(), found[0].read::<u32>(&MessagePack).unwrap()),
        (DeadLetterReason::Crashed, 1)
    );
    assert!(found[0].at().unwrap().elapsed().unwrap() < PATIENCE * 2, "{found:?}");
    let queue = DeadLetters::of_queue(&amqp, "limited").unwrap();
    assert_eq!(queue.redrive(9, |_| true).await.unwrap(), 1);
    let job = next_job(&mut jobs).await;
    assert_eq!((job.context().attempt, job.context().redriven()), (1, 1));
    job.requeue().unwrap();
    // The broker dead-letters it again, and must not detect a dead-letter cycle.
    for _ in 0..2 {
        next_job(&mut jobs).await.requeue().unwrap();
    }
    assert_eq!(dead_letters(&amqp, "limited", 1).await[0].redriven(), 1);
}

async fn expired_job_is_dead_lettered_on_request(url: String) {
    let short = QueueOptions::new().message_ttl(Duration::from_millis(50));
    let builder = builder(&url)
        .job_queue("kept.short", short.clone().dead_letters())
        .job_queue("gone.short", short);
    let amqp = builder.build().await.unwrap();
    for queue in ["kept.short", "gone.short"] {
        Pusher::connect(&amqp, queue, MessagePack).await.unwrap().push(&1).await.unwrap();
    }
    assert_eq!(dead_letters(&amqp, "kept.short", 1).await[0].reason(), DeadLetterReason::Expired);
    let channel = channel(&url).await;
    until_delivered(&channel, "polywire.jobs.gone.short").await;
    dead_letters(&amqp, "gone.short", 0).await;
    let _ = consume(&channel, "polywire.dead.jobs.gone.short").await;
}

/// Recent versions have a delivery limit of 20 where a queue names none, and a look is a delivery.
async fn dead_letter_stays_however_often_it_is_looked_at(url: String) {
    for (name, kind) in KINDS {
        let (amqp, queue) = (connected(&url, kind).await, format!("looked.{name}"));
        let mut jobs = puller(&amqp, &queue, 1).await;
        push(&amqp, &queue, [1]).await;
        next_job(&mut jobs).await.dead_letter("no").unwrap();
        for _ in 0..25 {
            let found = dead_letters(&amqp, &queue, 1).await;
            assert_eq!(found[0].attempts(), 1, "{name}");
        }
    }
}

/// The default is the largest message that recent versions accept without a setting.
async fn largest_body_arrives_and_a_larger_one_is_refused(url: String) {
    const BODY_MAX: usize = 16 << 20;
    let amqp = Amqp::connect(&url).await.unwrap();
    let mut jobs: Puller<String> = Puller::bind(&amqp, "largest", MessagePack).await.unwrap();
    let pusher = Pusher::connect(&amqp, "largest", MessagePack).timeout(PATIENCE).await.unwrap();
    // A long text has a head of 5 bytes.
    let largest = "x".repeat(BODY_MAX - 5);
    pusher.push(&largest).await.unwrap();
    let job = timeout(PATIENCE, jobs.next()).await.expect("the job arrives").unwrap().unwrap();
    assert_eq!(job.len(), largest.len());
    job.ack();
    let error = pusher.push(&format!("{largest}x")).await.unwrap_err();
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::TooLarge, true), "{error:?}");
}
