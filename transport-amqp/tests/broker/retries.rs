//! Delayed retries, and deliveries that a killed broker must not lose.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use polywire_amqp::{Amqp, QueueKind, QueueOptions};
use polywire_codec::MessagePack;
use polywire_core::pipeline::WaitingRetries;
use polywire_core::transport::DeadLetterSource;
use polywire_core::{
    Address, Code, DeadLetters, ErrorKind, Fault, Group, Listener, Retries, Server,
};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::context::{PATIENCE, killed_and_restarted};
use crate::endpoints::{
    KINDS, builder, connected, dead_letters, next_job, publisher, puller, push, pusher,
};
use crate::engine::{channel, delete_queue, ready_count};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker failed_job_waits_at_the_broker_with_its_errors,
        broker deleted_retry_queue_is_declared_again,
        broker waiting_jobs_and_events_are_counted_at_the_broker,
        broker waiting_jobs_outlive_the_expiry_of_unused_queues,
        broker delivery_limit_is_refused_where_the_queue_does_not_count,
        node killed_broker_loses_no_republished_job,
    ]
}

async fn failed_job_waits_at_the_broker_with_its_errors(url: String) {
    for (name, kind) in KINDS {
        let (amqp, queue) = (connected(&url, kind).await, format!("waits.{name}"));
        push(&amqp, &queue, [1, 2]).await;
        let mut jobs = puller(&amqp, &queue, 1).await;
        let start = Instant::now();
        let first = next_job(&mut jobs).await;
        assert_eq!(*first, 1);
        first.retry_after(Duration::from_millis(700), "too soon").unwrap();
        // A waiting job takes up no place in the window.
        let second = next_job(&mut jobs).await;
        assert_eq!(*second, 2);
        second.ack();
        let again = next_job(&mut jobs).await;
        assert!(start.elapsed() >= Duration::from_millis(700), "{:?}", start.elapsed());
        assert_eq!((*again, again.context().attempt), (1, 2));
        assert_eq!(again.context().headers.len(), 0, "{:?}", again.context().headers);
        again.retry_after(Duration::ZERO, "and again").unwrap();
        let again = next_job(&mut jobs).await;
        let history = again.context().history.clone().unwrap();
        assert_eq!((*again, again.context().attempt), (1, 3));
        assert_eq!(
            (history.first_error.as_deref(), history.last_error.as_deref()),
            (Some("too soon"), Some("and again"))
        );
        // The broker must not detect a dead-letter cycle when the job takes the same way twice.
        again.retry_after(Duration::from_millis(700), "").unwrap();
        next_job(&mut jobs).await.ack();
    }
}

async fn deleted_retry_queue_is_declared_again(url: String) {
    let amqp = connected(&url, QueueKind::Classic).await;
    push(&amqp, "redeclared", [1]).await;
    let mut jobs = puller(&amqp, "redeclared", 1).await;
    next_job(&mut jobs).await.retry_after(Duration::from_millis(64), "").unwrap();
    let job = next_job(&mut jobs).await;
    delete_queue(&url, "polywire.retry.jobs.redeclared..64").await;
    job.retry_after(Duration::from_millis(64), "").unwrap();
    let job = next_job(&mut jobs).await;
    assert_eq!(job.context().attempt, 3);
    job.dead_letter("").unwrap();
    dead_letters(&amqp, "redeclared", 1).await;
    delete_queue(&url, "polywire.dead.jobs.redeclared").await;
    push(&amqp, "redeclared", [2]).await;
    next_job(&mut jobs).await.dead_letter("").unwrap();
    dead_letters(&amqp, "redeclared", 1).await;
}

/// The transport knows the retry queues that it has used. One that is deleted is empty.
async fn waiting_jobs_and_events_are_counted_at_the_broker(url: String) {
    let minute = Duration::from_mins(1);
    for (name, kind) in KINDS {
        let (amqp, queue) = (connected(&url, kind).await, format!("counted.{name}"));
        let waiting = WaitingRetries::of_queue(&amqp, &*queue).unwrap();
        assert_eq!(waiting.count().await.unwrap(), 0);
        push(&amqp, &queue, [1, 2, 3]).await;
        let mut jobs = puller(&amqp, &queue, 3).await;
        for pause in [minute, minute, 8 * minute] {
            next_job(&mut jobs).await.retry_after(pause, "busy").unwrap();
        }
        counted(&waiting, 3).await;
        drop(jobs);
        let other = connected(&url, kind).await;
        push(&other, &queue, [4]).await;
        // Another process knows of the pause that it has used itself: the jobs of all processes.
        let mut jobs = puller(&other, &queue, 1).await;
        next_job(&mut jobs).await.retry_after(minute, "busy").unwrap();
        counted(&WaitingRetries::of_queue(&other, &*queue).unwrap(), 3).await;
        counted(&waiting, 4).await;
        delete_queue(&url, &format!("polywire.retry.jobs.{queue}..{ROUNDED_MINUTE}")).await;
        counted(&waiting, 1).await;

        let channel = format!("counted.{name}");
        let listener = Listener::bind(&amqp, &*channel, MessagePack)
            .group(Group::new("billing").unwrap().durable())
            .retries(Retries::new(2).immediate(0).backoff(minute, minute));
        let listener = listener.await.unwrap();
        tokio::spawn(listener.listen(async |_: u32| {
            Err::<(), _>(Fault::new(Code::Application, "the bank is closed"))
        }));
        let publisher = publisher(&amqp, &channel).await;
        publisher.publish("7.placed", &7).await.unwrap();
        let (channel, group) = (Address::new(channel).unwrap(), Address::new("billing").unwrap());
        let source = DeadLetterSource::Group { channel, group };
        counted(&WaitingRetries::of(&amqp, source), 1).await;
    }
}

/// A minute in milliseconds, rounded up as the names of retry queues are.
const ROUNDED_MINUTE: u64 = 65_536;

/// Waits until so many deliveries wait for their retries.
async fn counted(waiting: &WaitingRetries<'_, Amqp>, count: u64) {
    let counting = async { while waiting.count().await.unwrap() != count {} };
    timeout(PATIENCE, counting).await.expect("the waiting deliveries are counted");
}

/// Jobs wait in a retry queue at each moment at which its expiry could end.
async fn waiting_jobs_outlive_the_expiry_of_unused_queues(url: String) {
    const JOBS: u32 = 80;
    for (name, kind) in KINDS {
        let builder = builder(&url).queue_kind(kind).retry_queue_expiry(Duration::from_secs(1));
        let amqp = builder.build().await.unwrap();
        let queue = format!("outlive.{name}");
        let mut jobs = puller(&amqp, &queue, 1).await;
        let pusher = pusher(&amqp, &queue).await;
        let pushing = async {
            let mut every = tokio::time::interval(Duration::from_millis(100));
            for job in 0..JOBS {
                every.tick().await;
                pusher.push(&job).await.unwrap();
            }
        };
        let working = async {
            let mut done = BTreeSet::new();
            while done.len() < JOBS as usize {
                let job = next_job(&mut jobs).await;
                if job.context().attempt == 1 {
                    job.retry_after(Duration::from_secs(1), "too soon").unwrap();
                } else {
                    done.insert(*job);
                    job.ack();
                }
            }
        };
        tokio::join!(pushing, working);
    }
}

async fn delivery_limit_is_refused_where_the_queue_does_not_count(url: String) {
    for (name, kind) in KINDS {
        let (amqp, service) = (connected(&url, kind).await, format!("limited.{name}"));
        drop(Server::bind(&amqp, &*service).deliveries(2).await.unwrap());
        // Suspects of a passive queue are not isolated, and so not counted.
        let passive = QueueOptions::new().kind(kind).passive();
        let amqp = builder(&url).service_queue(&*service, passive).build().await.unwrap();
        drop(Server::bind(&amqp, &*service).deliveries(1).await.unwrap());
        let bound = Server::bind(&amqp, &*service).deliveries(2).await;
        if kind == QueueKind::Quorum {
            bound.unwrap();
            continue;
        }
        let error = bound.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
        assert_eq!(error.detail("capability"), Some("attempts"));
    }
}

/// A copy is confirmed before its original is acknowledged. So a job is in one of the queues at
/// whichever moment the broker dies, unless the broker is just moving it from one classic queue to
/// another. The delay is long enough that the kill comes before that.
async fn killed_broker_loses_no_republished_job() {
    const ALL: u32 = 300;
    const DELAY: Duration = Duration::from_millis(8192);
    let mut node = Node::start().unwrap();
    for (name, kind) in KINDS {
        let (amqp, queue) = (connected(&node.url(), kind).await, format!("killed.{name}"));
        push(&amqp, &queue, 0..ALL).await;
        let mut jobs = puller(&amqp, &queue, ALL as usize).await;
        // Declares the retry queue and the dead-letter queue.
        next_job(&mut jobs).await.retry_after(DELAY, "first").unwrap();
        next_job(&mut jobs).await.dead_letter("first").unwrap();
        dead_letters(&amqp, &queue, 1).await;
        let mut held = Vec::new();
        while held.len() < ALL as usize - 2 {
            held.push(next_job(&mut jobs).await);
        }
        // RabbitMQ persists the declaration of a quorum queue with a delay.
        node.remember_queues().unwrap();
        let mut outcomes = BTreeMap::new();
        for (n, job) in held.into_iter().enumerate() {
            outcomes.insert(*job, ["retried", "dead-lettered", "requeued"][n % 3]);
            match n % 3 {
                0 => job.retry_after(DELAY, "again").unwrap(),
                1 => job.dead_letter("never").unwrap(),
                _ => job.requeue().unwrap(),
            }
        }
        let dead_queue = format!("polywire.dead.jobs.{queue}");
        let dead_count = ready_count(&channel(&node.url()).await, &dead_queue).await;
        println!("{dead_count} of {} dead letters arrived before the kill", ALL / 3);
        node = killed_and_restarted(node).await;
        let mut seen = BTreeSet::new();
        let seeing = async {
            while seen.len() < ALL as usize {
                if let Ok(job) = timeout(Duration::from_millis(200), jobs.next()).await {
                    let job = job.unwrap().unwrap();
                    seen.insert(*job);
                    job.ack();
                    continue;
                }
                if let Ok(found) =
                    DeadLetters::of_queue(&amqp, &*queue).unwrap().look(usize::MAX).await
                {
                    seen.extend(
                        found
                            .iter()
                            .map(|dead_letter| dead_letter.read::<u32>(&MessagePack).unwrap()),
                    );
                }
            }
        };
        let seen_in_time = timeout(PATIENCE, seeing).await;
        outcomes.retain(|job, _| !seen.contains(job));
        let left = seen.len();
        assert!(seen_in_time.is_ok(), "{kind:?}: {left} of {ALL} jobs are left, not {outcomes:?}");
    }
}
