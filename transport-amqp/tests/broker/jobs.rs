//! Jobs: persistence, malformed jobs, deleted queues, and brokers that are killed.

use futures_util::StreamExt;
use futures_util::future::{join_all, try_join_all};
use lapin::BasicProperties;
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, QueueKind};
use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::{ErrorKind, Puller, Pusher};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::context::{PATIENCE, killed_and_restarted};
use crate::endpoints::{acked_job, acked_jobs, connected, dead_letters, puller, pusher};
use crate::engine::{channel, consume, delete_queue, malformed_headers, publish};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker jobs_are_persistent_and_do_not_expire,
        broker malformed_jobs_are_errors_and_dead_letters,
        broker mismatched_queue_kind_is_named,
        broker jobs_to_a_deleted_queue_are_not_lost,
        node confirmed_jobs_survive_a_killed_broker,
    ]
}

async fn jobs_are_persistent_and_do_not_expire(url: String) {
    let channel = channel(&url).await;
    let mut jobs = consume(&channel, "polywire.jobs.watched").await;
    let amqp = Amqp::connect(&url).await.unwrap();
    let pusher = pusher(&amqp, "watched").await;
    pusher.push_with(&1, [("größe", "目")].into_iter().collect()).await.unwrap();
    let job = timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(job.properties.delivery_mode(), &Some(2));
    assert_eq!((job.properties.expiration(), job.properties.kind()), (&None, &None));
    assert!(job.properties.headers().as_ref().unwrap().contains_key("größe"));
}

async fn malformed_jobs_are_errors_and_dead_letters(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let mut puller = puller(&amqp, "malformed", 1).await;
    let channel = channel(&url).await;
    for properties in [
        BasicProperties::default().with_headers(malformed_headers()),
        BasicProperties::default().with_type("two words".into()),
        BasicProperties::default().with_content_type("text/plain".into()),
    ] {
        publish(&channel, "polywire.jobs.malformed", properties).await;
        let error = timeout(PATIENCE, puller.next()).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec, "{error:?}");
    }
    pusher(&amqp, "malformed").await.push(&5).await.unwrap();
    assert_eq!(acked_job(&mut puller).await, 5);
    let found = dead_letters(&amqp, "malformed", 3).await;
    assert!(found.iter().all(|dead_letter| dead_letter.reason() == DeadLetterReason::Unreadable
        && dead_letter.last_error().is_some()));
    assert!(
        found
            .iter()
            .all(|dead_letter| dead_letter.message().body.clone().into_bytes() == b"\x01"[..])
    );
}

async fn mismatched_queue_kind_is_named(url: String) {
    let classic = Amqp::connect(&url).await.unwrap();
    let _pusher = pusher(&classic, "classic").await;
    let quorum = Amqp::connect(&format!("{url}?queue_kind=quorum")).await.unwrap();
    for error in [
        Pusher::connect(&quorum, "classic", MessagePack).await.unwrap_err(),
        Puller::<u32>::bind(&quorum, "classic", MessagePack).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert_eq!(error.detail("queue"), Some("polywire.jobs.classic"));
        let mismatch = [error.detail("argument"), error.detail("ours"), error.detail("theirs")];
        assert_eq!(mismatch, [Some("x-queue-type"), Some("quorum"), Some("classic")]);
    }
}

/// With many unconfirmed jobs, returned ones arrive with the confirms of others.
async fn jobs_to_a_deleted_queue_are_not_lost(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let pusher = pusher(&amqp, "fragile").await;
    pusher.push(&0).await.unwrap();
    delete_queue(&url, "polywire.jobs.fragile").await;
    let numbers: Vec<u32> = (1..=300).collect();
    for outcome in join_all(numbers.iter().map(|n| pusher.push(n))).await {
        outcome.unwrap();
    }
    let mut puller = puller(&amqp, "fragile", 300).await;
    assert_eq!(acked_jobs(&mut puller, 300).await, numbers);
}

async fn confirmed_jobs_survive_a_killed_broker() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let (durable, safe) =
        (pusher(&amqp, "lasting").await, connected(&node.url(), QueueKind::Quorum).await);
    let replicated = pusher(&safe, "replicated").await;
    let numbers: Vec<u32> = (0..50).collect();
    try_join_all(numbers.iter().map(|n| durable.push(n))).await.unwrap();
    try_join_all(numbers.iter().map(|n| replicated.push(n))).await.unwrap();
    // RabbitMQ persists the declaration of a quorum queue with a delay.
    node.ctl(&["eval", "[dets:sync(Table) || Table <- dets:all()]."]).unwrap();
    let _node = killed_and_restarted(node).await;
    // The endpoint handles from before the kill go on.
    durable.push(&50).await.unwrap();
    replicated.push(&50).await.unwrap();
    for (amqp, queue) in [(&amqp, "lasting"), (&safe, "replicated")] {
        let mut puller = puller(amqp, queue, 64).await;
        assert_eq!(acked_jobs(&mut puller, 51).await, (0..=50).collect::<Vec<_>>(), "{queue}");
    }
}
