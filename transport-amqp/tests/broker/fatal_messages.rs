//! Messages over which the engine fails for a reason that the filter before it does not know.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, ConnectionChange, ConnectionRole};
use polywire_codec::MessagePack;
use polywire_core::{ErrorKind, Group, Subscriber};
use tokio::time::timeout;

use crate::context::PATIENCE;
use crate::endpoints::{
    KINDS, acked_job, builder, client, dead_letters, eventually_answered, next_event, publisher,
    puller, push, serve,
};
use crate::engine::{channel, consume};
use crate::raw::{CONTENT_TYPE, CORRELATION_ID, REPLY_TO, RawPublisher, TYPE, short};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker job_that_ends_connections_becomes_a_dead_letter,
        broker request_that_ends_connections_is_answered,
        broker event_that_ends_connections_is_an_error,
    ]
}

const LATIN_1: &[u8] = b"gr\xf6\xdfe";

/// Connects a transport whose engine gets content headers unchecked, and fails over Latin-1.
async fn unchecked(url: &str, kind: polywire_amqp::QueueKind) -> Amqp {
    builder(url).queue_kind(kind).unchecked_headers(true).build().await.unwrap()
}

/// Waits until a further connection has ended and is restored.
async fn until_restored(amqp: &Amqp) {
    let mut events = amqp.events();
    let waiting = async {
        while let Some(event) = events.next().await {
            let is_restored = matches!(event.change, ConnectionChange::Restored { .. });
            if event.role == ConnectionRole::Consuming && is_restored {
                return;
            }
        }
    };
    timeout(PATIENCE, waiting).await.expect("the connection is restored");
}

async fn job_that_ends_connections_becomes_a_dead_letter(url: String) {
    for (kind_name, kind) in KINDS {
        let name = format!("fatal.{kind_name}");
        let amqp = unchecked(&url, kind).await;
        let _server = serve(&amqp, &name).await;
        let neighbor = client(&amqp, &name).await;
        drop(puller(&amqp, &name, 1).await);
        let queue = format!("polywire.jobs.{name}");
        push(&amqp, &name, 1..=3).await;
        let properties = [short(b"application/msgpack"), short(LATIN_1)].concat();
        let mut raw = RawPublisher::connect(&url);
        raw.publish("", queue.as_bytes(), CONTENT_TYPE | TYPE, &properties, b"\x01");
        push(&amqp, &name, 4..=7).await;
        let mut jobs = puller(&amqp, &name, 8).await;
        let (mut good, mut error) = (BTreeSet::new(), None);
        while good.len() < 7 || error.is_none() {
            match timeout(PATIENCE, jobs.next()).await.expect("a job arrives").unwrap() {
                Ok(job) => {
                    // One whose acknowledgement was lost comes twice.
                    good.insert(*job);
                    job.ack();
                }
                Err(found) => error = Some(found),
            }
        }
        assert_eq!(good, (1..=7).collect());
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Codec, "{error:?}");
        assert_eq!(error.detail("queue"), Some(&*queue));
        assert!(error.to_string().contains("the AMQP engine failed at it"), "{error}");
        let dead = dead_letters(&amqp, &name, 1).await;
        assert!(format!("{dead:?}").contains("the AMQP engine failed at it"), "{dead:?}");
        eventually_answered(&neighbor).await;
        push(&amqp, &name, [8]).await;
        while acked_job(&mut jobs).await != 8 {}
    }
}

async fn request_that_ends_connections_is_answered(url: String) {
    let channel = channel(&url).await;
    let mut answers = consume(&channel, "fatal.answers").await;
    let amqp = unchecked(&url, polywire_amqp::QueueKind::Classic).await;
    let handle = serve(&amqp, "fatal.requests").await;
    let mut raw = RawPublisher::connect(&url);
    let properties = [short(b"x"), short(b"fatal.answers"), short(LATIN_1)].concat();
    let restored = until_restored(&amqp);
    let queue = b"polywire.fatal.requests";
    raw.publish("", queue, CORRELATION_ID | REPLY_TO | TYPE, &properties, b"\x01");
    let (answer, ()) = tokio::join!(timeout(PATIENCE, answers.next()), restored);
    let answer = answer.expect("an answer arrives").unwrap().unwrap();
    assert_eq!(answer.properties.correlation_id().as_ref().unwrap().as_str(), "x");
    let headers = format!("{:?}", answer.properties.headers());
    assert!(headers.contains("polywire.fault"), "{headers}");
    let client = client(&amqp, "fatal.requests").await;
    assert_eq!(client.call::<u32>("double", &2).await.unwrap(), 4);
    assert_eq!(handle.stats().rejected, 0);
}

/// For a subscriber with a queue of its own, and for a member of a group.
async fn event_that_ends_connections_is_an_error(url: String) {
    for group in [None, Some(Group::new("readers").unwrap().durable())] {
        let name = format!("fatal.events.{}", group.as_ref().map_or("own", |_| "group"));
        let amqp = unchecked(&url, polywire_amqp::QueueKind::Classic).await;
        let opening = Subscriber::<u32>::bind(&amqp, &*name, MessagePack).filter("#");
        let opening = match group {
            Some(group) => opening.group(group),
            None => opening,
        };
        let mut events = opening.await.unwrap();
        let publisher = publisher(&amqp, &name).await;
        publisher.publish("a", &1).await.unwrap();
        let mut raw = RawPublisher::connect(&url);
        let properties = [short(b"application/msgpack"), short(LATIN_1)].concat();
        let exchange = format!("polywire.events.{name}");
        raw.publish(&exchange, b"a", CONTENT_TYPE | TYPE, &properties, b"\x01");
        publisher.publish("a", &2).await.unwrap();
        let (mut good, mut is_named) = (BTreeSet::new(), false);
        while good.len() < 2 || !is_named {
            match timeout(PATIENCE, events.next()).await.expect("an event arrives").unwrap() {
                Ok(event) => {
                    // One whose acknowledgement was lost comes twice.
                    good.insert(*event);
                    event.ack();
                }
                Err(error) => {
                    is_named |= error.to_string().contains("the AMQP engine failed at it");
                }
            }
        }
        assert_eq!(good, BTreeSet::from([1, 2]));
        publisher.publish("a", &3).await.unwrap();
        let mut last = 0;
        while last != 3 {
            let event = next_event(&mut events).await;
            last = *event;
            event.ack();
        }
    }
}
