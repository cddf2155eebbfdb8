//! Work that fails: what waits at the broker, what is dead, and what may not be lost in between.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use lapin::BasicProperties;
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, QueueKind};
use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::{
    Address, Client, Code, Context, DeadLetters, ErrorKind, Fault, Group, Job, Listener, Publisher,
    Puller, Pusher, Retries, Router, Server, Subscriber, Transport, Window, Worker,
};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::stage::{
    PATIENCE, channel, delete, killed_and_restarted, publish, until, until_dead, waiting,
};
use crate::{broker, node};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        broker(
            "failed_job_waits_at_the_broker_with_its_story",
            failed_job_waits_at_the_broker_with_its_story,
        ),
        broker(
            "retry_queue_that_was_deleted_is_made_again",
            retry_queue_that_was_deleted_is_made_again,
        ),
        broker("dead_job_is_redriven_as_it_came", dead_job_is_redriven_as_it_came),
        broker(
            "job_that_ends_its_processes_is_not_run_again",
            job_that_ends_its_processes_is_not_run_again,
        ),
        broker(
            "dead_event_is_redriven_to_its_group_alone",
            dead_event_is_redriven_to_its_group_alone,
        ),
        broker("request_that_ends_its_servers_is_kept", request_that_ends_its_servers_is_kept),
        broker(
            "bound_that_a_queue_cannot_count_is_refused",
            bound_that_a_queue_cannot_count_is_refused,
        ),
        node(
            "killed_broker_loses_nothing_that_is_given_back",
            killed_broker_loses_nothing_that_is_given_back,
        ),
    ]
}

const KINDS: [(&str, QueueKind); 2] =
    [("classic", QueueKind::Classic), ("quorum", QueueKind::Quorum)];

async fn failed_job_waits_at_the_broker_with_its_story(url: String) {
    for (name, kind) in KINDS {
        let (amqp, queue) = (connected(&url, kind).await, format!("waits.{name}"));
        push(&amqp, &queue, [1, 2]).await;
        let mut jobs = puller(&amqp, &queue, 1).await;
        let start = Instant::now();
        let first = next(&mut jobs).await;
        assert_eq!(*first, 1);
        first.retry_after(Duration::from_millis(700), "too soon").unwrap();
        // What waits takes up no room.
        let second = next(&mut jobs).await;
        assert_eq!(*second, 2);
        second.ack();
        let again = next(&mut jobs).await;
        assert!(start.elapsed() >= Duration::from_millis(700), "{:?}", start.elapsed());
        assert_eq!((*again, again.context().attempt), (1, 2));
        assert_eq!(again.context().headers.len(), 0, "{:?}", again.context().headers);
        again.retry_after(Duration::ZERO, "and again").unwrap();
        let again = next(&mut jobs).await;
        let history = again.context().history.clone().unwrap();
        assert_eq!((*again, again.context().attempt), (1, 3));
        assert_eq!(
            (history.first_error.as_deref(), history.last_error.as_deref()),
            (Some("too soon"), Some("and again"))
        );
        // Twice by the same way is no circle to the broker.
        again.retry_after(Duration::from_millis(700), "").unwrap();
        next(&mut jobs).await.ack();
    }
}

async fn retry_queue_that_was_deleted_is_made_again(url: String) {
    let amqp = connected(&url, QueueKind::Classic).await;
    push(&amqp, "unmade", [1]).await;
    let mut jobs = puller(&amqp, "unmade", 1).await;
    next(&mut jobs).await.retry_after(Duration::from_millis(64), "").unwrap();
    let job = next(&mut jobs).await;
    delete(&url, "polywire.retry.jobs.unmade..64").await;
    job.retry_after(Duration::from_millis(64), "").unwrap();
    let job = next(&mut jobs).await;
    assert_eq!(job.context().attempt, 3);
    job.dead_letter("").unwrap();
    until_dead(&amqp, "unmade", 1).await;
    delete(&url, "polywire.dead.jobs.unmade").await;
    push(&amqp, "unmade", [2]).await;
    next(&mut jobs).await.dead_letter("").unwrap();
    until_dead(&amqp, "unmade", 1).await;
}

async fn dead_job_is_redriven_as_it_came(url: String) {
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
            let job = next(&mut jobs).await;
            assert_eq!(*job, expected);
            job.dead_letter(format!("job {expected}")).unwrap();
            until_dead(&amqp, &queue, expected.try_into().unwrap()).await;
        }
        let letters = until_dead(&amqp, &queue, 2).await;
        let told: Vec<_> = letters
            .iter()
            .map(|letter| (letter.reason(), letter.attempts(), letter.last_error()))
            .collect();
        assert_eq!(
            told,
            [
                (DeadLetterReason::Refused, 1, Some("job 1")),
                (DeadLetterReason::Refused, 1, Some("job 2"))
            ]
        );
        assert!(letters[0].at().unwrap().elapsed().unwrap() < PATIENCE * 2);
        let dead = DeadLetters::of_queue(&amqp, &*queue).unwrap();
        assert_eq!(
            dead.redrive(9, |letter| letter.last_error() == Some("job 1")).await.unwrap(),
            1
        );
        let job = next(&mut jobs).await;
        assert_eq!((*job, job.context().attempt, job.context().redriven()), (1, 1, 1));
        job.requeue().unwrap();
        drop(jobs);
        let channel = channel(&url).await;
        let raw = consumed(&channel, &format!("polywire.jobs.{queue}")).await;
        let (app, time) = (raw.app_id().as_ref().unwrap().as_str(), raw.timestamp().unwrap());
        assert_eq!((app, time, raw.expiration()), ("elsewhere", 1_000_000, &None));
        assert_eq!(dead.discard(9, |_| true).await.unwrap(), 1);
        assert!(dead.look(9).await.unwrap().is_empty());
    }
}

/// The properties of the next message, which is taken away.
async fn consumed(channel: &lapin::Channel, queue: &str) -> BasicProperties {
    let options = lapin::options::BasicGetOptions { no_ack: true };
    let looking = async {
        loop {
            if let Some(got) = channel.basic_get(queue.into(), options).await.unwrap() {
                return got.delivery.properties.clone();
            }
        }
    };
    timeout(PATIENCE, looking).await.expect("a message is there")
}

async fn job_that_ends_its_processes_is_not_run_again(url: String) {
    for (name, kind) in KINDS {
        let queue = format!("deadly.{name}");
        push(&connected(&url, kind).await, &queue, [1]).await;
        for attempt in 1..=3 {
            // A process that ends while it has the job.
            let dying = connected(&url, kind).await;
            let mut jobs = puller(&dying, &queue, 1).await;
            let job = next(&mut jobs).await;
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
        let letters = until_dead(&amqp, &queue, 1).await;
        assert_eq!(letters[0].reason(), DeadLetterReason::Crashed, "{kind:?}");
        // What a consumer is given while it goes counts as well, although nobody sees it.
        assert!(
            (4..=5).contains(&letters[0].attempts()),
            "{kind:?}: {} attempts",
            letters[0].attempts()
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

async fn dead_event_is_redriven_to_its_group_alone(url: String) {
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
        let dead = DeadLetters::of_group(&amqp, &*events, "billing").unwrap();
        let redriving = async {
            while dead
                .redrive(9, |letter| letter.message().topic.as_ref().unwrap().as_str() == "7.paid")
                .await
                .unwrap()
                == 0
            {}
        };
        timeout(PATIENCE, redriving).await.expect("it is dead");
        until(|| handle.stats().done == 1).await;
        publisher.publish("7.paid", &2).await.unwrap();
        for expected in [1, 2] {
            assert_eq!(*timeout(PATIENCE, own.next()).await.unwrap().unwrap().unwrap(), expected);
        }
        listening.abort();
    }
}

async fn request_that_ends_its_servers_is_kept(url: String) {
    for (name, kind, limit) in
        [("classic", QueueKind::Classic, 1), ("quorum", QueueKind::Quorum, 2)]
    {
        let (amqp, service) = (connected(&url, kind).await, format!("fragile.{name}"));
        let address = Address::new(service.clone()).unwrap();
        let mut dying = Vec::new();
        for _ in 0..limit {
            let transport = connected(&url, kind).await;
            let (_, requests) = transport.responder(&address, Window::new(1)).await.unwrap();
            dying.push((transport, requests));
        }
        let client = Client::connect(&amqp, &*service, MessagePack).await.unwrap();
        let call = tokio::spawn(async move { client.call::<u32>("crash", &1).await });
        // Each server but the last one gets it, since they do not take turns by names: whoever has
        // it dies.
        for _ in 0..limit {
            let (nth, held) = {
                let polls = dying.iter_mut().map(|(_, requests)| Box::pin(requests.next()));
                let (held, nth, _) = timeout(PATIENCE, futures_util::future::select_all(polls))
                    .await
                    .expect("it is delivered");
                (nth, held)
            };
            let (transport, _requests) = dying.swap_remove(nth);
            transport.close().await.unwrap();
            drop(held);
        }
        let server = Server::bind(&amqp, &*service).deliveries(limit).await.unwrap();
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
        let dead = DeadLetters::of_service(&amqp, &*service).unwrap();
        let redriving = async {
            while dead
                .redrive(9, |letter| letter.reason() == DeadLetterReason::Crashed)
                .await
                .unwrap()
                == 0
            {}
        };
        timeout(PATIENCE, redriving).await.expect("it is kept");
        until(|| runs.load(Ordering::SeqCst) == 1).await;
        serving.abort();
    }
}

async fn bound_that_a_queue_cannot_count_is_refused(url: String) {
    for (name, kind) in KINDS {
        let (amqp, service) = (connected(&url, kind).await, format!("counted.{name}"));
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

/// What is copied is confirmed, and only then acknowledged: at whatever moment the broker dies, a
/// job is somewhere.
async fn killed_broker_loses_nothing_that_is_given_back() {
    const ALL: u32 = 300;
    let mut node = Node::start().unwrap();
    for (name, kind) in KINDS {
        let (amqp, queue) = (connected(&node.url(), kind).await, format!("killed.{name}"));
        push(&amqp, &queue, 0..ALL).await;
        let mut jobs = puller(&amqp, &queue, ALL as usize).await;
        // The queues for what waits and what is dead are there before.
        next(&mut jobs).await.retry_after(Duration::from_millis(1024), "first").unwrap();
        next(&mut jobs).await.dead_letter("first").unwrap();
        until_dead(&amqp, &queue, 1).await;
        let mut held = Vec::new();
        while held.len() < ALL as usize - 2 {
            held.push(next(&mut jobs).await);
        }
        // RabbitMQ writes down a while later that a quorum queue was made; one that is killed
        // before forgets it.
        node.remember_queues().unwrap();
        for (n, job) in held.into_iter().enumerate() {
            match n % 3 {
                0 => job.retry_after(Duration::from_millis(1024), "again").unwrap(),
                1 => job.dead_letter("never").unwrap(),
                _ => job.requeue().unwrap(),
            }
        }
        let dead_queue = format!("polywire.dead.jobs.{queue}");
        let dead = waiting(&channel(&node.url()).await, &dead_queue).await;
        println!("{dead} of {} were dead when the broker was killed", ALL / 3);
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
                if let Ok(letters) =
                    DeadLetters::of_queue(&amqp, &*queue).unwrap().look(usize::MAX).await
                {
                    seen.extend(
                        letters.iter().map(|letter| letter.read::<u32>(&MessagePack).unwrap()),
                    );
                }
            }
        };
        let seen_in_time = timeout(PATIENCE, seeing).await;
        assert!(seen_in_time.is_ok(), "{kind:?}: {} of {ALL} are left", seen.len());
    }
}

async fn connected(url: &str, kind: QueueKind) -> Amqp {
    Amqp::builder(url).unwrap().queue_kind(kind).build().await.unwrap()
}

async fn push(amqp: &Amqp, queue: &str, jobs: impl IntoIterator<Item = u32>) {
    let pusher = Pusher::connect(amqp, queue, MessagePack).timeout(PATIENCE).await.unwrap();
    let jobs: Vec<_> = jobs.into_iter().collect();
    try_join_all(jobs.iter().map(|job| pusher.push(job))).await.unwrap();
}

async fn puller(amqp: &Amqp, queue: &str, window: usize) -> Puller<u32> {
    Puller::bind(amqp, queue, MessagePack).window(Window::new(window)).await.unwrap()
}

async fn next(puller: &mut Puller<u32>) -> Job<u32> {
    timeout(PATIENCE, puller.next()).await.expect("a job comes").unwrap().unwrap()
}
