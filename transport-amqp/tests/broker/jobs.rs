//! Jobs: what is counted, what comes again, what outlives whom.

use std::future::IntoFuture;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{join_all, try_join_all};
use lapin::BasicProperties;
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, QueueKind};
use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::{ErrorKind, Headers, Job, Puller, Pusher, Transport, Window};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::outbound::through_proxy;
use crate::stage::{
    PATIENCE, bad_text, channel, consume, delete, killed_and_restarted, publish, until, until_dead,
    waiting,
};
use crate::{broker, node};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        broker("jobs_are_persistent_and_do_not_expire", jobs_are_persistent_and_do_not_expire),
        broker(
            "attempts_are_counted_on_both_kinds_of_queue",
            attempts_are_counted_on_both_kinds_of_queue,
        ),
        broker("job_given_back_keeps_what_it_says", job_given_back_keeps_what_it_says),
        broker("dropped_job_comes_again", dropped_job_comes_again),
        broker("jobs_not_taken_are_handed_back", jobs_not_taken_are_handed_back),
        broker(
            "job_given_back_before_a_close_is_there_once",
            job_given_back_before_a_close_is_there_once,
        ),
        broker("unreadable_jobs_are_kept_and_told", unreadable_jobs_are_kept_and_told),
        broker("queue_of_the_other_kind_is_named", queue_of_the_other_kind_is_named),
        broker("deleted_job_queue_loses_no_later_job", deleted_job_queue_loses_no_later_job),
        node("confirmed_jobs_outlive_a_killed_broker", confirmed_jobs_outlive_a_killed_broker),
        node(
            "full_puller_can_stop_after_a_lost_connection",
            full_puller_can_stop_after_a_lost_connection,
        ),
        broker(
            "puller_given_up_while_it_opens_holds_nothing",
            puller_given_up_while_it_opens_holds_nothing,
        ),
        node("lost_connection_has_nothing_done_twice", lost_connection_has_nothing_done_twice),
        node(
            "late_acknowledgement_costs_the_channel_alone",
            late_acknowledgement_costs_the_channel_alone,
        ),
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

async fn attempts_are_counted_on_both_kinds_of_queue(url: String) {
    for (queue, kind) in
        [("counted.classic", QueueKind::Classic), ("counted.quorum", QueueKind::Quorum)]
    {
        let amqp = Amqp::builder(&url).unwrap().queue_kind(kind).build().await.unwrap();
        pusher(&amqp, queue).await.push(&1).await.unwrap();
        let mut puller = puller(&amqp, queue, 1).await;
        for attempt in 1..=4 {
            let job = next(&mut puller).await;
            assert_eq!((*job, job.context().attempt), (1, attempt), "{kind:?}");
            job.requeue().unwrap();
        }
        next(&mut puller).await.ack();
        amqp.close().await.unwrap();
        assert_eq!(
            waiting(&channel(&url).await, &format!("polywire.jobs.{queue}")).await,
            0,
            "{kind:?}"
        );
    }
}

async fn job_given_back_keeps_what_it_says(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let headers: Headers = [("tenant", "zürich")].into_iter().collect();
    pusher(&amqp, "kept").await.push_with(&7, headers).await.unwrap();
    let mut puller = puller(&amqp, "kept", 1).await;
    for _ in 0..3 {
        let job = next(&mut puller).await;
        assert_eq!(*job, 7);
        assert_eq!(job.context().headers.get("tenant"), Some("zürich"));
        assert_eq!(job.context().headers.len(), 1);
        job.requeue().unwrap();
    }
}

async fn dropped_job_comes_again(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    pusher(&amqp, "dropped").await.push(&1).await.unwrap();
    let mut first = puller(&amqp, "dropped", 1).await;
    let job = next(&mut first).await;
    drop(first);
    drop(job);
    let mut second = puller(&amqp, "dropped", 1).await;
    let job = next(&mut second).await;
    assert_eq!((*job, job.context().attempt), (1, 2));
    job.ack();
}

async fn jobs_not_taken_are_handed_back(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let pusher = pusher(&amqp, "idle").await;
    let idle = puller(&amqp, "idle", 8).await;
    try_join_all([1, 2, 3, 4].iter().map(|n| pusher.push(n))).await.unwrap();
    let channel = channel(&url).await;
    let held = async { while waiting(&channel, "polywire.jobs.idle").await > 0 {} };
    timeout(PATIENCE, held).await.expect("the puller that takes none has them all");
    drop(idle);
    let mut other = puller(&amqp, "idle", 8).await;
    assert_eq!(taken(&mut other, 4).await, [1, 2, 3, 4]);
}

async fn unreadable_jobs_are_kept_and_told(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let mut puller = puller(&amqp, "victim", 1).await;
    let channel = channel(&url).await;
    for properties in [
        BasicProperties::default().with_headers(bad_text()),
        BasicProperties::default().with_type("two words".into()),
        BasicProperties::default().with_content_type("text/plain".into()),
    ] {
        publish(&channel, "polywire.jobs.victim", properties).await;
        let error = timeout(PATIENCE, puller.next()).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec, "{error:?}");
    }
    pusher(&amqp, "victim").await.push(&5).await.unwrap();
    let job = next(&mut puller).await;
    assert_eq!(*job, 5);
    job.ack();
    let letters = until_dead(&amqp, "victim", 3).await;
    assert!(
        letters.iter().all(|letter| letter.reason() == DeadLetterReason::Unreadable
            && letter.last_error().is_some())
    );
    assert!(letters.iter().all(|letter| letter.message().body.clone().into_bytes() == b"\x01"[..]));
}

async fn queue_of_the_other_kind_is_named(url: String) {
    let classic = Amqp::connect(&url).await.unwrap();
    let _pusher = pusher(&classic, "classic").await;
    let quorum = Amqp::connect(&format!("{url}?queue_kind=quorum")).await.unwrap();
    for error in [
        Pusher::connect(&quorum, "classic", MessagePack).await.unwrap_err(),
        Puller::<u32>::bind(&quorum, "classic", MessagePack).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert_eq!(error.detail("queue"), Some("polywire.jobs.classic"));
        let clash = [error.detail("argument"), error.detail("ours"), error.detail("theirs")];
        assert_eq!(clash, [Some("x-queue-type"), Some("quorum"), Some("none")]);
    }
}

/// Returned messages come with other confirms than their own, when many are on their way.
async fn deleted_job_queue_loses_no_later_job(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let pusher = pusher(&amqp, "fragile").await;
    pusher.push(&0).await.unwrap();
    delete(&url, "polywire.jobs.fragile").await;
    let numbers: Vec<u32> = (1..=300).collect();
    for outcome in join_all(numbers.iter().map(|n| pusher.push(n))).await {
        outcome.unwrap();
    }
    let mut puller = puller(&amqp, "fragile", 300).await;
    assert_eq!(taken(&mut puller, 300).await, numbers);
}

async fn confirmed_jobs_outlive_a_killed_broker() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let (durable, safe) = (pusher(&amqp, "lasting").await, quorum(&node).await);
    let replicated = pusher(&safe, "replicated").await;
    let numbers: Vec<u32> = (0..50).collect();
    try_join_all(numbers.iter().map(|n| durable.push(n))).await.unwrap();
    try_join_all(numbers.iter().map(|n| replicated.push(n))).await.unwrap();
    // RabbitMQ writes down a while later that a quorum queue was made; one that is killed before
    // forgets it.
    node.ctl(&["eval", "[dets:sync(Table) || Table <- dets:all()]."]).unwrap();
    let _node = killed_and_restarted(node).await;
    // The ends that were there before go on as well.
    durable.push(&50).await.unwrap();
    replicated.push(&50).await.unwrap();
    for (amqp, queue) in [(&amqp, "lasting"), (&safe, "replicated")] {
        let mut puller = puller(amqp, queue, 64).await;
        assert_eq!(taken(&mut puller, 51).await, (0..=50).collect::<Vec<_>>(), "{queue}");
    }
}

/// What the last connection left behind takes up the room of what the new one brings.
async fn full_puller_can_stop_after_a_lost_connection() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let full = puller(&amqp, "full", 2).await;
    let pusher = pusher(&amqp, "full").await;
    try_join_all([1, 2].iter().map(|n| pusher.push(n))).await.unwrap();
    let held = async |node: &Node| {
        let channel = channel(&node.url()).await;
        let held = async { while waiting(&channel, "polywire.jobs.full").await > 0 {} };
        timeout(PATIENCE, held).await.expect("it has them all");
    };
    held(&node).await;
    let node = killed_and_restarted(node).await;
    held(&node).await;
    drop(full);
    let mut other = puller(&amqp, "full", 2).await;
    assert_eq!(taken(&mut other, 2).await, [1, 2]);
}

async fn puller_given_up_while_it_opens_holds_nothing(url: String) {
    let counting = channel(&url).await;
    let amqp = Amqp::connect(&url).await.unwrap();
    pusher(&amqp, "given.up.early").await.push(&1).await.unwrap();
    let (proxy, builder) = through_proxy(&url).await;
    let far = builder.build().await.unwrap();
    proxy.delay(Duration::from_millis(500));
    let opening = Puller::<u32>::bind(&far, "given.up.early", MessagePack);
    // The broker has delivered the job before it is known here that it takes this for a consumer.
    let delivered = async { while waiting(&counting, "polywire.jobs.given.up.early").await > 0 {} };
    tokio::select! {
        puller = opening.into_future() => drop(puller.unwrap()),
        () = delivered => {}
    }
    let mut other = puller(&amqp, "given.up.early", 1).await;
    assert_eq!(taken(&mut other, 1).await, [1]);
}

async fn lost_connection_has_nothing_done_twice() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let pusher = pusher(&amqp, "cut").await;
    let mut puller = puller(&amqp, "cut", 3).await;
    try_join_all([1, 2, 3].iter().map(|n| pusher.push(n))).await.unwrap();
    let late = next(&mut puller).await;
    let consumers = || node.ctl(&["list_consumers", "channel_pid"]).unwrap();
    let unsettled = || node.ctl(&["list_queues", "messages_unacknowledged"]).unwrap();
    until(|| unsettled().contains('3')).await;
    let before = consumers();
    node.ctl(&["close_all_connections", "a test"]).unwrap();
    until(|| before != consumers() && unsettled().contains('3')).await;
    // The broker has given it back already: another copy would be one too many.
    late.requeue().unwrap();
    for _ in 0..3 {
        let job = next(&mut puller).await;
        assert_eq!(job.context().attempt, 2, "job {}", *job);
        job.ack();
    }
    pusher.push(&4).await.unwrap();
    let job = next(&mut puller).await;
    assert_eq!((*job, job.context().attempt), (4, 1));
}

async fn late_acknowledgement_costs_the_channel_alone() {
    let node = Node::start_with_advanced(
        "consumer_timeout = 1000\n",
        "[{rabbit, [{channel_tick_interval, 500}]}].",
    );
    let node = node.unwrap();
    // On a machine that does much else, a connection is not to be lost for another reason.
    let amqp = Amqp::builder(&node.url()).unwrap().heartbeat(PATIENCE).build().await.unwrap();
    let pusher = pusher(&amqp, "slow").await;
    let mut puller = puller(&amqp, "slow", 1).await;
    let connections = || node.ctl(&["list_connections", "pid"]).unwrap();
    let before = connections();
    pusher.push(&1).await.unwrap();
    let late = next(&mut puller).await;
    assert_eq!(late.context().attempt, 1);
    let again = next(&mut puller).await;
    assert_eq!((*again, again.context().attempt), (1, 2));
    // It is the broker's again, so that this means nothing.
    late.ack();
    again.ack();
    pusher.push(&2).await.unwrap();
    let job = next(&mut puller).await;
    assert_eq!((*job, job.context().attempt), (2, 1));
    job.ack();
    assert_eq!(connections(), before);
}

async fn quorum(node: &Node) -> Amqp {
    Amqp::builder(&node.url()).unwrap().queue_kind(QueueKind::Quorum).build().await.unwrap()
}

async fn job_given_back_before_a_close_is_there_once(url: String) {
    let counting = channel(&url).await;
    for round in 0..10 {
        let queue = format!("closing.{round}");
        let amqp = Amqp::connect(&url).await.unwrap();
        pusher(&amqp, &queue).await.push(&1).await.unwrap();
        let mut puller = puller(&amqp, &queue, 1).await;
        drop(next(&mut puller).await);
        amqp.close().await.unwrap();
        // Whatever a connection held comes back when the broker sees that it is gone, which it has
        // by then.
        drop(puller);
        assert_eq!(waiting(&counting, &format!("polywire.jobs.{queue}")).await, 1, "round {round}");
    }
}

async fn pusher(amqp: &Amqp, queue: &str) -> Pusher<MessagePack> {
    Pusher::connect(amqp, queue, MessagePack).timeout(PATIENCE).await.unwrap()
}

async fn puller(amqp: &Amqp, queue: &str, window: usize) -> Puller<u32> {
    Puller::bind(amqp, queue, MessagePack).window(Window::new(window)).await.unwrap()
}

async fn next(puller: &mut Puller<u32>) -> Job<u32> {
    timeout(PATIENCE, puller.next()).await.expect("a job comes").unwrap().unwrap()
}

/// So many jobs, acknowledged, in order of their numbers. One that comes twice stands there twice,
/// in the place of another.
async fn taken(puller: &mut Puller<u32>, count: usize) -> Vec<u32> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let job = next(puller).await;
        taken.push(*job);
        job.ack();
    }
    taken.sort_unstable();
    taken
}
