//! Lasting reasons for which the broker keeps no message: names, arguments, permissions.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::{Address, Code, ErrorKind, Fault, Group, Subscriber, Worker};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::context::{PATIENCE, until};
use crate::endpoints::{dead_letters, next_job, puller, push};
use crate::engine::{channel, delete_queue};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker group_whose_dead_letters_cannot_be_named_is_refused,
        broker job_that_cannot_wait_for_its_retry_is_a_dead_letter,
        broker dead_letter_is_counted_once_it_is_kept,
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
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(7));
    let channel = channel(url).await;
    channel.queue_declare(ShortString::from(queue), durable, arguments).await.unwrap();
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

async fn dead_letter_is_counted_once_it_is_kept(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let dead = "polywire.dead.jobs.lasting.counted";
    declare_differently(&url, dead).await;
    let attempted = Arc::new(Notify::new());
    let worker = Worker::bind(&amqp, "lasting.counted", MessagePack).attempts(1).await.unwrap();
    let (handle, attempt) = (worker.handle(), attempted.clone());
    tokio::spawn(worker.work(move |_: u32| {
        attempt.notify_one();
        async { Err::<(), _>(Fault::new(Code::Application, "no")) }
    }));
    push(&amqp, "lasting.counted", [1]).await;
    timeout(PATIENCE, attempted.notified()).await.unwrap();
    // The dead letter cannot be kept, so the job is tried again after a pause.
    assert_eq!(handle.stats().dead_lettered, 0);
    delete_queue(&url, dead).await;
    until(|| handle.stats().dead_lettered > 0).await;
    dead_letters(&amqp, "lasting.counted", 1).await;
    assert_eq!(handle.stats().dead_lettered, 1);
}
