//! Options of a single message: persistence, time to live, headers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::{Code, ErrorKind, Fault, Publisher, Retries, Worker};
use tokio::time::timeout;

use crate::context::{PATIENCE, until};
use crate::endpoints::{client, pusher, serve};
use crate::engine::{channel, consume, consume_one};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker transient_messages_are_marked_and_others_are_persistent,
        broker time_to_live_is_the_expiration,
        broker headers_of_the_broker_are_refused_by_name,
        broker job_that_failed_is_not_retried_after_its_time_to_live,
    ]
}

async fn transient_messages_are_marked_and_others_are_persistent(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let channel = channel(&url).await;
    let mut jobs = consume(&channel, "polywire.jobs.transient").await;
    let pusher = pusher(&amqp, "transient").await;
    for (transient, mode) in [(true, 1), (false, 2)] {
        let pusher = if transient { pusher.with_transient() } else { pusher.clone() };
        pusher.push(&1).await.unwrap();
        let job = timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(job.properties.delivery_mode(), &Some(mode));
    }
    let mut requests = consume(&channel, "polywire.transient").await;
    let client = client(&amqp, "transient").await;
    client.request("note").transient().send(&1).await.unwrap();
    let request = timeout(PATIENCE, requests.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(request.properties.delivery_mode(), &Some(1));
}

async fn time_to_live_is_the_expiration(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let channel = channel(&url).await;
    let mut jobs = consume(&channel, "polywire.jobs.brief").await;
    let brief = pusher(&amqp, "brief").await.with_ttl(Duration::from_secs(60));
    brief.push(&1).await.unwrap();
    let job = timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap();
    let expiration: u64 = job.properties.expiration().as_ref().unwrap().as_str().parse().unwrap();
    assert!((50_000..=60_000).contains(&expiration), "{expiration}");
    // The broker must not remove a job that is to be kept.
    brief.with_keep_expired().push(&1).await.unwrap();
    let job = timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(job.properties.expiration(), &None);
    let headers = job.properties.headers().as_ref().unwrap();
    assert!(headers.contains_key("polywire.left") && headers.contains_key("polywire.keep.expired"));

    let events = Publisher::connect(&amqp, "brief", MessagePack).await.unwrap();
    let bind = channel.queue_bind(
        "polywire.jobs.brief".into(),
        "polywire.events.brief".into(),
        "a".into(),
        Default::default(),
        Default::default(),
    );
    bind.await.unwrap();
    events.with_ttl(Duration::from_secs(60)).with_transient().publish("a", &1).await.unwrap();
    let event = timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap();
    assert!(event.properties.expiration().is_some());
    assert_eq!(event.properties.delivery_mode(), &Some(1));
}

/// The broker closes the channel of a message whose header `CC` is a text, and so fails all others
/// that are not confirmed.
async fn headers_of_the_broker_are_refused_by_name(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let pusher = pusher(&amqp, "routed").await;
    let _server = serve(&amqp, "routed").await;
    let client = client(&amqp, "routed").await;
    for name in ["CC", "BCC", "x-death", "x-first-death-queue", "x-delivery-count"] {
        let (bad, good) = (pusher.with_header(name, "polywire.jobs.other"), [1, 2, 3]);
        let others = try_join_all(good.iter().map(|n| pusher.push(n)));
        let (refused, others) = tokio::join!(bad.push(&0), others);
        let error = refused.unwrap_err();
        assert_eq!((error.kind(), error.detail("header")), (ErrorKind::Config, Some(name)));
        assert!(error.is_unsent());
        others.unwrap();
        let refused = client.request("double").header(name, "x").call::<u32>(&1).await;
        assert_eq!(refused.unwrap_err().kind(), Some(ErrorKind::Config), "{name}");
    }
    let channel = channel(&url).await;
    consume_one(&channel, "polywire.jobs.routed").await;
}

async fn job_that_failed_is_not_retried_after_its_time_to_live(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let pause = Duration::from_secs(2);
    let worker = Worker::bind(&amqp, "late", MessagePack)
        .retries(Retries::new(3).immediate(0).jitter(0.0).backoff(pause, pause))
        .await
        .unwrap();
    let (handle, runs) = (worker.handle(), Arc::new(AtomicU64::new(0)));
    let count = runs.clone();
    tokio::spawn(worker.work(move |_: u32| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Err::<(), _>(Fault::new(Code::Application, "not yet")) }
    }));
    let pusher = pusher(&amqp, "late").await;
    pusher.with_ttl(Duration::from_secs(1)).push(&1).await.unwrap();
    until(|| handle.stats().expired == 1).await;
    assert_eq!((runs.load(Ordering::SeqCst), handle.stats().retried), (1, 1));
    assert_eq!(handle.stats().dead_lettered, 0);
}
