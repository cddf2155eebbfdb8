//! Lasting reasons for which the broker keeps no message: names, arguments, permissions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel};
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, QueueKind, QueueOptions};
use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::transport::{Outcome, Receiver, Settled};
use polywire_core::{
    Address, Code, Deadline, ErrorKind, Fault, Group, Message, Server, Subscriber, Transport,
    Window, Worker,
};
use polywire_rabbitmq_node::Node;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::context::{PATIENCE, until};
use crate::endpoints::{builder, dead_letters, next_job, puller, push, pusher};
use crate::engine::{channel, delete_queue, publish, ready_count};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker group_whose_dead_letters_cannot_be_named_is_refused,
        broker job_that_cannot_wait_for_its_retry_is_a_dead_letter,
        broker crashes_of_a_suspect_that_cannot_wait_for_its_retry_are_counted,
        broker dead_letter_is_counted_once_it_is_kept,
        broker dead_letter_queue_with_other_options_is_refused_at_bind,
        broker worker_whose_queue_has_other_options_ends_with_the_refusal,
        node job_of_which_the_broker_takes_no_copy_ends,
        broker dead_letter_without_room_for_its_errors_is_kept_without_them,
        broker requeue_over_the_limit_is_counted_as_a_dead_letter,
        broker each_outcome_is_reported_once_it_is_carried_out,
    ]
}

async fn group_whose_dead_letters_cannot_be_named_is_refused(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let (channel, group) = ("c".repeat(120), "g".repeat(100));
    let group = Group::new(Address::new(group).unwrap()).unwrap();
    let bound = Subscriber::<u32>::bind(&amqp, Address::new(channel).unwrap(), MessagePack);
    let error = bound.group(group).await.unwrap_err();
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::TooLarge, true), "{error:?}");
    assert_eq!(error.detail("limit"), Some("255"));
    assert!(error.detail("queue").unwrap().contains("..group.ggg"), "{error:?}");
}

/// Declares a queue with an argument that polywire does not set.
async fn declare_differently(url: &str, queue: &str) {
    try_declare_differently(&channel(url).await, queue).await.unwrap();
}

async fn try_declare_differently(channel: &Channel, queue: &str) -> lapin::Result<lapin::Queue> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(7));
    channel.queue_declare(ShortString::from(queue), durable, arguments).await
}

async fn worker_whose_queue_has_other_options_ends_with_the_refusal(url: String) {
    const QUEUE: &str = "polywire.jobs.redeclared";
    let amqp = builder(&url).give_up_after(Duration::from_millis(100)).build().await.unwrap();
    let worker = Worker::bind(&amqp, "redeclared", MessagePack).await.unwrap();
    let working = tokio::spawn(worker.work(async |_: u32| Ok(())));
    // The worker may be faster, and declare its queue again.
    loop {
        // Opened before. A refused declaration closes the channel.
        let channel = channel(&url).await;
        delete_queue(&url, QUEUE).await;
        if try_declare_differently(&channel, QUEUE).await.is_ok() {
            break;
        }
    }
    let ended = timeout(PATIENCE, working).await.expect("the worker ends").unwrap();
    let error = ended.expect_err("the worker ends with the refusal");
    assert_eq!((error.kind(), error.is_fatal()), (ErrorKind::Config, true), "{error:?}");
    assert_eq!(error.detail("argument"), Some("x-max-length"), "{error:?}");
    delete_queue(&url, QUEUE).await;
}

async fn job_that_cannot_wait_for_its_retry_is_a_dead_letter(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let name = "lasting.mismatch";
    declare_differently(&url, &format!("polywire.retry.jobs.{name}..64")).await;
    let mut jobs = puller(&amqp, name, 1).await;
    push(&amqp, name, [1]).await;
    next_job(&mut jobs).await.retry_after(Duration::from_millis(64), "later").unwrap();
    let dead = dead_letters(&amqp, name, 1).await.remove(0);
    assert!(dead.last_error().unwrap().contains("declare the queue"), "{dead:?}");
    assert_eq!(dead.attempts(), 1, "{dead:?}");
}

async fn crashes_of_a_suspect_that_cannot_wait_for_its_retry_are_counted(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let name = "lasting.suspect";
    declare_differently(&url, &format!("polywire.retry.jobs.{name}..64")).await;
    push(&amqp, name, [1]).await;
    // The first consumer ends with an ordinary job, and the second one with an isolated suspect.
    for _ in 0..2 {
        let dying = Amqp::connect(&url).await.unwrap();
        let mut jobs = puller(&dying, name, 1).await;
        let held = next_job(&mut jobs).await;
        dying.close().await.unwrap();
        drop(held);
    }
    let mut jobs = puller(&amqp, name, 1).await;
    next_job(&mut jobs).await.retry_after(Duration::from_millis(64), "later").unwrap();
    let dead = dead_letters(&amqp, name, 1).await.remove(0);
    assert_eq!((dead.reason(), dead.attempts()), (DeadLetterReason::Refused, 2), "{dead:?}");
}

async fn dead_letter_is_counted_once_it_is_kept(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let dead = "polywire.dead.jobs.lasting.counted";
    let attempted = Arc::new(Notify::new());
    let worker = Worker::bind(&amqp, "lasting.counted", MessagePack).attempts(1).await.unwrap();
    // Not before `bind`, which would be refused.
    declare_differently(&url, dead).await;
    let (handle, attempt) = (worker.handle(), attempted.clone());
    let attempts = Arc::new(AtomicU32::new(0));
    let counter = attempts.clone();
    tokio::spawn(worker.work(move |_: u32| {
        counter.fetch_add(1, Ordering::SeqCst);
        attempt.notify_one();
        async { Err::<(), _>(Fault::new(Code::Application, "no")) }
    }));
    push(&amqp, "lasting.counted", [1]).await;
    timeout(PATIENCE, attempted.notified()).await.unwrap();
    // The dead letter cannot be kept, so it is tried again after a pause.
    assert_eq!(handle.stats().dead_lettered, 0);
    delete_queue(&url, dead).await;
    until(|| handle.stats().dead_lettered > 0).await;
    dead_letters(&amqp, "lasting.counted", 1).await;
    assert_eq!(handle.stats().dead_lettered, 1);
    // The job was held meanwhile: each requeue would have run it again.
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
}

async fn dead_letter_queue_with_other_options_is_refused_at_bind(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    for (dead, is_server) in [("jobs.differs.dead", false), ("differs.dead", true)] {
        let dead = format!("polywire.dead.{dead}");
        declare_differently(&url, &dead).await;
        let error = if is_server {
            Server::bind(&amqp, "differs.dead").await.unwrap_err()
        } else {
            Worker::bind(&amqp, "differs.dead", MessagePack).await.unwrap_err()
        };
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert_eq!(error.detail("queue"), Some(dead.as_str()), "{error:?}");
        assert!(error.detail("dead_letters_of").is_some(), "{error:?}");
    }
}

/// The broker has lowered its limit since it got the jobs.
async fn job_of_which_the_broker_takes_no_copy_ends() {
    let node = Node::start().unwrap();
    let connect = async || {
        let options = QueueOptions::new().dead_letters();
        builder(&node.url()).job_queue("kept.large", options).build().await.unwrap()
    };
    let large = "x".repeat(2 << 20);
    for (queue, dead_lettered, discarded) in [("large", 0, 1), ("kept.large", 1, 0)] {
        let pushing = connect().await;
        pusher(&pushing, queue).await.push(&large).await.unwrap();
        pushing.close().await.unwrap();
        // Its own messages have not proved any size.
        let amqp = connect().await;
        set_size_limit(&node, 1500000);
        let worker = Worker::bind(&amqp, queue, MessagePack).attempts(2).await.unwrap();
        let handle = worker.handle();
        let fail = |_: String| async { Err::<(), _>(Fault::new(Code::Application, "no")) };
        let working = tokio::spawn(worker.work(fail));
        let ended = || handle.stats().dead_lettered + handle.stats().discarded > 0;
        until(ended).await;
        let stats = handle.stats();
        let counts = (stats.dead_lettered, stats.discarded, stats.retried);
        assert_eq!(counts, (dead_lettered, discarded, 0), "{queue}");
        handle.drain().await;
        working.await.unwrap().unwrap();
        let dead = dead_letters(&amqp, queue, dead_lettered as usize).await;
        assert!(dead.iter().all(|dead| dead.reason() == DeadLetterReason::Refused), "{dead:?}");
        let counting = channel(&node.url()).await;
        assert_eq!(ready_count(&counting, &format!("polywire.jobs.{queue}")).await, 0);
        set_size_limit(&node, 134217728);
    }
}

/// Changes the size limit of a running node. Newer brokers read it from a persistent term.
fn set_size_limit(node: &Node, bytes: u32) {
    let set = format!(
        "application:set_env(rabbit, max_message_size, {bytes}), \
         persistent_term:put(max_message_size, {bytes})."
    );
    node.ctl(&["eval", &set]).unwrap();
}

/// The header of a message has to fit into one frame.
async fn dead_letter_without_room_for_its_errors_is_kept_without_them(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let mut jobs = puller(&amqp, "wide", 1).await;
    let mut headers = FieldTable::default();
    headers.insert("wide".into(), AMQPValue::LongString("x".repeat(130_700).into()));
    let properties = BasicProperties::default()
        .with_content_type("application/msgpack".into())
        .with_headers(headers);
    publish(&channel(&url).await, "polywire.jobs.wide", properties).await;
    // Beyond our limit of headers, the job is unreadable.
    let error = timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
    let dead = dead_letters(&amqp, "wide", 1).await.remove(0);
    assert_eq!((dead.reason(), dead.last_error()), (DeadLetterReason::Unreadable, None));
}

async fn requeue_over_the_limit_is_counted_as_a_dead_letter(url: String) {
    let options = QueueOptions::new().kind(QueueKind::Quorum).delivery_limit(1);
    let amqp = builder(&url).job_queue("limited.count", options).build().await.unwrap();
    push(&amqp, "limited.count", [1]).await;
    let queue = Address::new("limited.count").unwrap();
    let mut jobs = amqp.puller(&queue, Window::new(1)).await.unwrap();
    for expected in [Settled::Done, Settled::DeadLettered] {
        assert_eq!(settled(&mut jobs, Outcome::Requeue).await, expected);
    }
    assert_eq!(
        dead_letters(&amqp, "limited.count", 1).await[0].reason(),
        DeadLetterReason::Crashed
    );
}

async fn each_outcome_is_reported_once_it_is_carried_out(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    push(&amqp, "lasting.reported", [1, 2]).await;
    let name = Address::new("lasting.reported").unwrap();
    let mut jobs = amqp.puller(&name, Window::new(1)).await.unwrap();
    for outcome in [Outcome::Ack, Outcome::Discard] {
        assert_eq!(settled(&mut jobs, outcome).await, Settled::Done);
    }
    let (_replies, mut requests) = amqp.responder(&name, Window::new(1)).await.unwrap();
    let (requester, _inbox) = amqp.requester(&name).await.unwrap();
    let request = Message::request(Address::new("run").unwrap(), Deadline::after(PATIENCE));
    requester.send(request).await.unwrap();
    let decline = Outcome::Decline(Box::new(Fault::declined("no lens")));
    assert_eq!(settled(&mut requests, decline).await, Settled::Done);
}

/// Settles the next delivery. Returns how the backend has carried out the outcome.
async fn settled(deliveries: &mut Receiver, outcome: Outcome) -> Settled {
    let delivery = timeout(PATIENCE, deliveries.next()).await.unwrap().unwrap().unwrap();
    let (send, sent) = oneshot::channel();
    let settled = Box::new(|settled| send.send(settled).unwrap());
    delivery.receipt.settle_then(outcome, settled);
    timeout(PATIENCE, sent).await.unwrap().unwrap()
}
