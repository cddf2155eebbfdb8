//! Jobs that are requeued: their attempts and headers, and how often they are redelivered.

use std::future::IntoFuture;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::try_join_all;
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, AmqpBuilder, ConnectionChange, QueueKind, QueueOptions};
use polywire_codec::MessagePack;
use polywire_core::health::{EndpointState, Health};
use polywire_core::{Headers, Puller, Transport};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::context::{PATIENCE, killed_and_restarted, through_proxy, until, version};
use crate::endpoints::{
    KINDS, acked_job, acked_jobs, builder, connected, dead_letters, next_job, puller, push, pusher,
};
use crate::engine::{channel, ready_count, until_delivered};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker attempts_are_counted_on_both_kinds_of_queue,
        broker attempts_are_right_for_each_kind_of_passive_queue,
        broker job_that_is_always_dropped_ends_at_the_delivery_limit,
        broker requeued_job_keeps_its_headers,
        broker dropped_job_is_requeued,
        broker jobs_of_a_dropped_puller_are_requeued,
        broker job_requeued_before_a_close_is_not_duplicated,
        node full_puller_stops_after_a_lost_connection,
        broker puller_dropped_while_it_opens_holds_no_jobs,
        node requeue_after_a_lost_connection_makes_no_duplicate,
        node late_acknowledgement_closes_only_the_channel,
        node buffer_of_a_cancelled_consumer_is_delivered_once,
    ]
}

async fn attempts_are_counted_on_both_kinds_of_queue(url: String) {
    for (name, kind) in KINDS {
        let (amqp, queue) = (connected(&url, kind).await, format!("counted.{name}"));
        pusher(&amqp, &queue).await.push(&1).await.unwrap();
        let mut puller = puller(&amqp, &queue, 1).await;
        for attempt in 1..=4 {
            let job = next_job(&mut puller).await;
            assert_eq!((*job, job.context().attempt), (1, attempt), "{kind:?}");
            job.requeue().unwrap();
        }
        next_job(&mut puller).await.ack();
        amqp.close().await.unwrap();
        assert_eq!(
            ready_count(&channel(&url).await, &format!("polywire.jobs.{queue}")).await,
            0,
            "{kind:?}"
        );
    }
}

/// The options say what the queue is, and may be wrong.
async fn attempts_are_right_for_each_kind_of_passive_queue(url: String) {
    for ((is, kind), (said, claimed)) in KINDS.iter().flat_map(|is| KINDS.map(|said| (is, said))) {
        let queue = format!("passive.{is}.said.{said}");
        push(&connected(&url, *kind).await, &queue, [1]).await;
        let passive = QueueOptions::new().kind(claimed).passive();
        let amqp = builder(&url).queue_options(passive).build().await.unwrap();
        let mut puller = puller(&amqp, &queue, 1).await;
        for attempt in 1..=4 {
            let job = next_job(&mut puller).await;
            assert_eq!((*job, job.context().attempt), (1, attempt), "{queue}");
            job.requeue().unwrap();
        }
        next_job(&mut puller).await.ack();
    }
}

/// The limit is the broker's: the puller knows nothing of it.
async fn job_that_is_always_dropped_ends_at_the_delivery_limit(url: String) {
    let quorum = || QueueOptions::new().kind(QueueKind::Quorum);
    let limited = builder(&url).job_queue("limited.passive", quorum().delivery_limit(3));
    let limited = limited.build().await.unwrap();
    push(&limited, "limited.passive", [1, 2]).await;
    let amqp = builder(&url).queue_options(quorum().passive()).build().await.unwrap();
    let mut puller = puller(&amqp, "limited.passive", 1).await;
    let mut dropped = 0;
    loop {
        let job = next_job(&mut puller).await;
        if *job == 2 && dropped == 4 {
            job.ack();
            break;
        }
        match *job {
            1 => dropped += 1,
            _ => assert!(dropped < 4, "delivered {dropped} times"),
        }
        drop(job);
    }
    // The broker counts each look at a quorum queue as a delivery, and not as an attempt.
    for look in 1..=3 {
        let found = dead_letters(&limited, "limited.passive", 1).await;
        assert_eq!((found.len(), found[0].attempts()), (1, 1), "look {look}");
    }
}

async fn requeued_job_keeps_its_headers(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let headers: Headers = [("tenant", "zürich")].into_iter().collect();
    pusher(&amqp, "kept").await.push_with(&7, headers).await.unwrap();
    let mut puller = puller(&amqp, "kept", 1).await;
    for _ in 0..3 {
        let job = next_job(&mut puller).await;
        assert_eq!(*job, 7);
        assert_eq!(job.context().headers.get("tenant"), Some("zürich"));
        assert_eq!(job.context().headers.len(), 1);
        job.requeue().unwrap();
    }
}

async fn dropped_job_is_requeued(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    pusher(&amqp, "dropped").await.push(&1).await.unwrap();
    let mut first = puller(&amqp, "dropped", 1).await;
    let job = next_job(&mut first).await;
    drop(first);
    drop(job);
    let mut second = puller(&amqp, "dropped", 1).await;
    let job = next_job(&mut second).await;
    assert_eq!((*job, job.context().attempt), (1, 2));
    job.ack();
}

async fn jobs_of_a_dropped_puller_are_requeued(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let pusher = pusher(&amqp, "idle").await;
    let idle = puller(&amqp, "idle", 8).await;
    try_join_all([1, 2, 3, 4].iter().map(|n| pusher.push(n))).await.unwrap();
    let channel = channel(&url).await;
    until_delivered(&channel, "polywire.jobs.idle").await;
    drop(idle);
    let mut other = puller(&amqp, "idle", 8).await;
    assert_eq!(acked_jobs(&mut other, 4).await, [1, 2, 3, 4]);
}

async fn job_requeued_before_a_close_is_not_duplicated(url: String) {
    let counting = channel(&url).await;
    for round in 0..10 {
        let queue = format!("closing.{round}");
        let amqp = Amqp::connect(&url).await.unwrap();
        pusher(&amqp, &queue).await.push(&1).await.unwrap();
        let mut puller = puller(&amqp, &queue, 1).await;
        drop(next_job(&mut puller).await);
        amqp.close().await.unwrap();
        drop(puller);
        // The broker requeues the deliveries of a closed connection a moment after the close.
        let queue = format!("polywire.jobs.{queue}");
        let requeued = async { while ready_count(&counting, &queue).await == 0 {} };
        timeout(PATIENCE, requeued).await.expect("the job is requeued");
    }
    for round in 0..10 {
        let queue = format!("polywire.jobs.closing.{round}");
        assert_eq!(ready_count(&counting, &queue).await, 1, "round {round}");
    }
}

/// The deliveries of the lost connection fill the window for those of the new one.
async fn full_puller_stops_after_a_lost_connection() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let full = puller(&amqp, "full", 2).await;
    let pusher = pusher(&amqp, "full").await;
    try_join_all([1, 2].iter().map(|n| pusher.push(n))).await.unwrap();
    until_delivered(&channel(&node.url()).await, "polywire.jobs.full").await;
    let node = killed_and_restarted(node).await;
    until_delivered(&channel(&node.url()).await, "polywire.jobs.full").await;
    drop(full);
    let mut other = puller(&amqp, "full", 2).await;
    assert_eq!(acked_jobs(&mut other, 2).await, [1, 2]);
}

async fn puller_dropped_while_it_opens_holds_no_jobs(url: String) {
    let counting = channel(&url).await;
    let amqp = Amqp::connect(&url).await.unwrap();
    pusher(&amqp, "dropped.early").await.push(&1).await.unwrap();
    let (proxy, builder) = through_proxy(&url).await;
    let far = builder.connect_timeout(PATIENCE).build().await.unwrap();
    proxy.delay(Duration::from_millis(500));
    let opening = Puller::<u32>::bind(&far, "dropped.early", MessagePack);
    // The broker delivers the job before its reply to the consume request arrives here.
    let delivered = until_delivered(&counting, "polywire.jobs.dropped.early");
    tokio::select! {
        puller = opening.into_future() => drop(puller.unwrap()),
        () = delivered => {}
    }
    let mut other = puller(&amqp, "dropped.early", 1).await;
    assert_eq!(acked_jobs(&mut other, 1).await, [1]);
}

async fn requeue_after_a_lost_connection_makes_no_duplicate() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let pusher = pusher(&amqp, "cut").await;
    let mut puller = puller(&amqp, "cut", 3).await;
    try_join_all([1, 2, 3].iter().map(|n| pusher.push(n))).await.unwrap();
    let late = next_job(&mut puller).await;
    let consumers = || node.ctl(&["list_consumers", "channel_pid"]).unwrap();
    let unsettled = || node.ctl(&["list_queues", "messages_unacknowledged"]).unwrap();
    until(|| unsettled().contains('3')).await;
    let before = consumers();
    node.ctl(&["close_all_connections", "a test"]).unwrap();
    // The puller holds one suspect of three.
    until(|| before != consumers() && unsettled().contains('1')).await;
    // The broker has requeued the job already, so another copy would be a duplicate.
    late.requeue().unwrap();
    for _ in 0..3 {
        let job = next_job(&mut puller).await;
        let context = job.context();
        assert_eq!((context.attempt, context.is_redelivered()), (1, true), "job {}", *job);
        job.ack();
    }
    pusher.push(&4).await.unwrap();
    let job = next_job(&mut puller).await;
    assert_eq!((*job, job.context().attempt), (4, 1));
}

/// Starts a node that requeues a delivery which is unsettled for a second.
fn impatient() -> Node {
    let timeout = "consumer_timeout = 1000\n";
    Node::start_with_advanced(timeout, "[{rabbit, [{channel_tick_interval, 500}]}].").unwrap()
}

/// Returns a builder for a node. A busy machine must not lose the connection for another reason
/// than the test's.
fn patient(node: &Node) -> AmqpBuilder {
    builder(&node.url()).heartbeat(PATIENCE)
}

async fn late_acknowledgement_closes_only_the_channel() {
    let node = impatient();
    for (name, kind) in KINDS {
        if kind == QueueKind::Classic && version(&node) >= (4, 3) {
            let name = "broker: late_acknowledgement_closes_only_the_channel (classic)";
            eprintln!("not run: {name}: this RabbitMQ has no consumer timeout on classic queues");
            continue;
        }
        let amqp = patient(&node).queue_kind(kind).build().await.unwrap();
        let queue = format!("slow.{name}");
        let pusher = pusher(&amqp, &queue).await;
        let mut puller = puller(&amqp, &queue, 1).await;
        let mut events = amqp.events();
        pusher.push(&1).await.unwrap();
        let late = next_job(&mut puller).await;
        assert_eq!(late.context().attempt, 1);
        let again = next_job(&mut puller).await;
        // The broker does not say that the puller lives, so the job is a suspect.
        let seen = (*again, again.context().attempt, again.context().is_redelivered());
        assert_eq!(seen, (1, 1, true), "{name}");
        // The broker has requeued the first delivery, so this has no effect.
        late.ack();
        again.ack();
        pusher.push(&2).await.unwrap();
        let job = next_job(&mut puller).await;
        assert_eq!((*job, job.context().attempt), (2, 1), "{name}");
        job.ack();
        while let Some(Some(event)) = events.next().now_or_never() {
            assert!(matches!(event.change, ConnectionChange::Connected { .. }), "{event:?}");
        }
    }
}

/// Returns whether the only handle consumes.
fn is_consuming(health: &Health) -> bool {
    health.endpoints.iter().all(|endpoint| matches!(endpoint.state, EndpointState::Consuming))
}

/// RabbitMQ 4.3 cancels the consumer and leaves its channel open.
async fn buffer_of_a_cancelled_consumer_is_delivered_once() {
    let node = impatient();
    let quorum = || QueueOptions::new().kind(QueueKind::Quorum);
    let declaring = patient(&node).queue_options(quorum()).build().await.unwrap();
    let pusher = pusher(&declaring, "held").await;
    let amqp = patient(&node).queue_options(quorum().passive()).build().await.unwrap();
    let mut puller = puller(&amqp, "held", 2).await;
    let mut changes = amqp.health().changes();
    changes.next().await.unwrap();
    try_join_all([1, 2].iter().map(|job| pusher.push(job))).await.unwrap();
    let late = next_job(&mut puller).await;
    until_delivered(&channel(&node.url()).await, "polywire.jobs.held").await;
    let cancelled_and_back = async { while !is_consuming(&changes.next().await.unwrap()) {} };
    timeout(PATIENCE, cancelled_and_back).await.expect("the broker cancels the consumer");
    late.requeue().unwrap();
    let mut jobs = Vec::new();
    for _ in 0..2 {
        let job = next_job(&mut puller).await;
        assert!(job.context().attempt > 1, "job {}", *job);
        jobs.push(*job);
        job.ack();
    }
    jobs.sort_unstable();
    assert_eq!(jobs, [1, 2]);
    pusher.push(&3).await.unwrap();
    assert_eq!(acked_job(&mut puller).await, 3);
}
