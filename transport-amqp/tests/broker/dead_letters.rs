//! Dead letters of jobs, events and requests, and their redrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use lapin::BasicProperties;
use libtest_mimic::Trial;
use polywire_amqp::QueueKind;
use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::{
    CallError, Client, Code, Context, DeadLetters, Fault, Group, Listener, Publisher, Reply,
    Retries, Router, Server, Subscriber, Transport, Worker, service_fn,
};
use polywire_rabbitmq_node::Node;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::context::{PATIENCE, until};
use crate::endpoints::{
    KINDS, client, connected, dead_letters, next_job, puller, push, serve_gated,
};
use crate::engine::{channel, consume_one, publish};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker redriven_job_equals_the_original,
        broker job_that_crashes_its_workers_is_dead_lettered,
        broker redriven_event_goes_to_its_group_alone,
        broker request_that_crashes_its_servers_is_dead_lettered,
        node expired_call_is_kept_once_its_dead_letter_queue_takes_it,
    ]
}

/// The broker rejects the dead letter at first. A call that were requeued then would run, since an
/// earlier delivery of it may have begun in time.
///
/// The queue has a dead letter before its limit is 0: an empty one is not beyond that. The limit
/// changes and is never set or removed: a classic queue that gets one drops messages, and a quorum
/// queue without one does not let its publishers go on.
async fn expired_call_is_kept_once_its_dead_letter_queue_takes_it() {
    let node = Node::start().unwrap();
    let limit = |length: u32| {
        let policy = format!(r#"{{"max-length":{length},"overflow":"reject-publish"}}"#);
        node.ctl(&["set_policy", "limit", "^polywire\\.dead\\.", &policy]).unwrap();
    };
    for (name, kind) in KINDS {
        let (amqp, service) = (connected(&node.url(), kind).await, format!("kept.{name}"));
        let gate = Arc::new(Semaphore::new(0));
        let server = serve_gated(&amqp, &service, &gate).await;
        let client = client(&amqp, &service).await;
        let letters = DeadLetters::of_service(&amqp, &*service).unwrap();
        let ttl = Duration::from_millis(100);
        let expire = async |n: u64| {
            let occupying = client.request("wait").timeout(PATIENCE).start::<u32>(&1).unwrap();
            until(|| server.stats().running == 1).await;
            client.request("double").ttl(ttl).keep_expired().send(&n).await.unwrap();
            tokio::time::sleep(2 * ttl).await;
            gate.add_permits(1);
            occupying.await.unwrap();
            until(|| server.stats().expired == n).await;
        };
        let found = async |count: usize| {
            loop {
                let found = letters.look(3).await.unwrap();
                if found.len() == count {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        };
        limit(1000);
        expire(1).await;
        timeout(PATIENCE, found(1)).await.expect("the first dead letter is kept");
        limit(0);
        expire(2).await;
        // Longer than rejected copies are published again without a pause.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let kept = letters.look(3).await.unwrap().len();
        assert_eq!(kept, 1, "{name}: the policy is in force");
        limit(1000);
        let kept = timeout(PATIENCE, found(2)).await.expect("the second dead letter is kept");
        assert!(kept.iter().all(|letter| letter.reason() == DeadLetterReason::Expired), "{name}");
        assert_eq!(server.stats().expired, 2, "{name}: each was delivered once");
    }
}

async fn redriven_job_equals_the_original(url: String) {
    for (name, kind) in KINDS {
        let (amqp, queue) = (connected(&url, kind).await, format!("redriven.{name}"));
        let mut jobs = puller(&amqp, &queue, 4).await;
        let foreign = BasicProperties::default()
            .with_content_type("application/msgpack".into())
            .with_app_id("elsewhere".into())
            .with_expiration("60000".into())
            .with_timestamp(1_000_000);
        publish(&channel(&url).await, &format!("polywire.jobs.{queue}"), foreign).await;
        push(&amqp, &queue, [2]).await;
        for expected in [1, 2] {
            let job = next_job(&mut jobs).await;
            assert_eq!(*job, expected);
            job.dead_letter(format!("job {expected}")).unwrap();
            dead_letters(&amqp, &queue, expected.try_into().unwrap()).await;
        }
        let found = dead_letters(&amqp, &queue, 2).await;
        let records: Vec<_> = found
            .iter()
            .map(|dead_letter| {
                (dead_letter.reason(), dead_letter.attempts(), dead_letter.last_error())
            })
            .collect();
        assert_eq!(
            records,
            [
                (DeadLetterReason::Refused, 1, Some("job 1")),
                (DeadLetterReason::Refused, 1, Some("job 2"))
            ]
        );
        assert!(found[0].at().unwrap().elapsed().unwrap() < PATIENCE * 2);
        let dead_letter_queue = DeadLetters::of_queue(&amqp, &*queue).unwrap();
        assert_eq!(
            dead_letter_queue
                .redrive(9, |dead_letter| dead_letter.last_error() == Some("job 1"))
                .await
                .unwrap(),
            1
        );
        let job = next_job(&mut jobs).await;
        assert_eq!((*job, job.context().attempt, job.context().redriven()), (1, 1, 1));
        job.requeue().unwrap();
        drop(jobs);
        let channel = channel(&url).await;
        let raw = consume_one(&channel, &format!("polywire.jobs.{queue}")).await;
        let (app, time) = (raw.app_id().as_ref().unwrap().as_str(), raw.timestamp().unwrap());
        assert_eq!((app, time, raw.expiration()), ("elsewhere", 1_000_000, &None));
        assert_eq!(dead_letter_queue.discard(9, |_| true).await.unwrap(), 1);
        assert!(dead_letter_queue.look(9).await.unwrap().is_empty());
    }
}

async fn job_that_crashes_its_workers_is_dead_lettered(url: String) {
    for (name, kind) in KINDS {
        let queue = format!("crashing.{name}");
        push(&connected(&url, kind).await, &queue, [1]).await;
        // The first process may have ended for another reason.
        for attempt in [1, 1, 2] {
            // A process that ends with the job unsettled.
            let dying = connected(&url, kind).await;
            let mut jobs = puller(&dying, &queue, 1).await;
            let job = next_job(&mut jobs).await;
            assert_eq!(job.context().attempt, attempt, "{kind:?}");
            dying.close().await.unwrap();
            drop(job);
        }
        let amqp = connected(&url, kind).await;
        let runs = Arc::new(AtomicU32::new(0));
        let count = runs.clone();
        let worker = Worker::bind(&amqp, &*queue, MessagePack).attempts(3).await.unwrap();
        let handle = worker.handle();
        let working = tokio::spawn(worker.work(move |_: u32| {
            count.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        }));
        let found = dead_letters(&amqp, &queue, 1).await;
        assert_eq!(found[0].reason(), DeadLetterReason::Crashed, "{kind:?}");
        // A delivery to a consumer that is closing counts as an attempt, too.
        assert!(
            (3..=4).contains(&found[0].attempts()),
            "{kind:?}: {} attempts",
            found[0].attempts()
        );
        assert_eq!(runs.load(Ordering::SeqCst), 0);
        assert_eq!(
            DeadLetters::of_queue(&amqp, &*queue).unwrap().redrive(9, |_| true).await.unwrap(),
            1
        );
        until(|| handle.stats().done == 1).await;
        working.abort();
    }
}

async fn redriven_event_goes_to_its_group_alone(url: String) {
    for (name, kind) in KINDS {
        let (amqp, events) = (connected(&url, kind).await, format!("orders.{name}"));
        let group = Group::new("billing").unwrap().durable();
        let listener =
            Listener::bind(&amqp, &*events, MessagePack).group(group).retries(Retries::at_once(2));
        let listener = listener.await.unwrap();
        let handle = listener.handle();
        let listening = tokio::spawn(listener.listen(|context: Context, _: u32| async move {
            assert_eq!(context.topic.as_ref().unwrap().as_str(), "7.paid");
            if context.redriven() > 0 {
                Ok(())
            } else {
                Err(Fault::new(Code::Application, "unpaid"))
            }
        }));
        let mut own: Subscriber<u32> =
            Subscriber::bind(&amqp, &*events, MessagePack).await.unwrap();
        let publisher = Publisher::connect(&amqp, &*events, MessagePack).await.unwrap();
        publisher.publish("7.paid", &1).await.unwrap();
        until(|| handle.stats().dead_lettered == 1).await;
        let queue = DeadLetters::of_group(&amqp, &*events, "billing").unwrap();
        let redriving = async {
            while queue
                .redrive(9, |dead_letter| {
                    dead_letter.message().topic.as_ref().unwrap().as_str() == "7.paid"
                })
                .await
                .unwrap()
                == 0
            {}
        };
        timeout(PATIENCE, redriving).await.expect("the event is dead-lettered");
        until(|| handle.stats().done == 1).await;
        publisher.publish("7.paid", &2).await.unwrap();
        for expected in [1, 2] {
            assert_eq!(*timeout(PATIENCE, own.next()).await.unwrap().unwrap().unwrap(), expected);
        }
        listening.abort();
    }
}

async fn request_that_crashes_its_servers_is_dead_lettered(url: String) {
    for (name, kind) in KINDS {
        let (amqp, service) = (connected(&url, kind).await, format!("fragile.{name}"));
        let client = Client::connect(&amqp, &*service, MessagePack).await.unwrap();
        // The queue exists from the first server on.
        let mut dying = dying_server(&url, kind, &service).await;
        let call = tokio::spawn(async move { client.call::<u32>("crash", &1).await });
        for _ in 0..2 {
            dying.await;
            dying = dying_server(&url, kind, &service).await;
        }
        dying.await;
        let server = Server::bind(&amqp, &*service).deliveries(3).await.unwrap();
        let runs = Arc::new(AtomicU32::new(0));
        let count = runs.clone();
        let router = Router::new(MessagePack).method("crash", move |n: u32| {
            count.fetch_add(1, Ordering::SeqCst);
            async move { Ok(n) }
        });
        let serving = tokio::spawn(server.serve(router));
        let error = timeout(PATIENCE, call).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.fault().unwrap().code, Code::Internal, "{error:?}");
        assert_eq!(runs.load(Ordering::SeqCst), 0);
        let queue = DeadLetters::of_service(&amqp, &*service).unwrap();
        let redriving = async {
            while queue
                .redrive(9, |dead_letter| dead_letter.reason() == DeadLetterReason::Crashed)
                .await
                .unwrap()
                == 0
            {}
        };
        timeout(PATIENCE, redriving).await.expect("the request is dead-lettered");
        until(|| runs.load(Ordering::SeqCst) == 1).await;
        serving.abort();
    }
}

/// Binds a server in a transport of its own. The returned future ends the transport once the server
/// runs a request.
async fn dying_server(url: &str, kind: QueueKind, service: &str) -> BoxFuture<'static, ()> {
    let amqp = connected(url, kind).await;
    let server = Server::bind(&amqp, service).await.unwrap();
    let handle = server.handle();
    let stuck = service_fn(|_| std::future::pending::<Result<Reply, CallError>>());
    tokio::spawn(server.serve(stuck));
    Box::pin(async move {
        until(|| handle.stats().running == 1).await;
        amqp.close().await.unwrap();
    })
}
