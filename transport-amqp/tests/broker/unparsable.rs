//! Messages that the engine could not parse: properties and routing keys that are not UTF-8, tables
//! that are nested too deeply, headers beyond the frame size.
//!
//! Such a message is undecodable like any other. It ends no connection, so it harms no neighbor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::StreamExt;
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, ConnectionChange};
use polywire_core::{DeadLetters, ErrorKind};
use tokio::time::timeout;

use crate::context::PATIENCE;
use crate::endpoints::{
    KINDS, acked_jobs, client, connected, dead_letters, next_event, publisher, puller, push, serve,
    subscriber,
};
use crate::engine::{channel, consume};
use crate::raw::{
    CONTENT_TYPE, CORRELATION_ID, Field, HEADERS, REPLY_TO, RawPublisher, TYPE, entry, long, short,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker unparsable_jobs_are_dead_letters_and_no_connection_ends,
        broker unparsable_requests_are_answered_or_rejected,
        broker unparsable_events_are_errors,
        broker unparsable_replies_fail_their_calls_alone,
        broker unparsable_dead_letters_are_read_and_discarded,
        #[cfg(feature = "tls")]
        node unparsable_jobs_are_dead_letters_over_tls,
    ]
}

const LATIN_1: &[u8] = b"gr\xf6\xdfe";
const MSGPACK: &[u8] = b"application/msgpack";

/// Property flags, properties, and a part of the cause.
type Unparsable = (u16, Vec<u8>, &'static str);

fn unparsable() -> Vec<Unparsable> {
    let table = |entries: &[u8]| [&short(MSGPACK)[..], &long(entries)].concat();
    let nested = (0..500).fold(Vec::new(), |inner, _| entry(b"n", &Field::Table(inner)));
    vec![
        (CONTENT_TYPE | TYPE, [short(MSGPACK), short(LATIN_1)].concat(), "`type`"),
        (CORRELATION_ID, short(LATIN_1), "`correlation_id`"),
        (CONTENT_TYPE | HEADERS, table(&entry(LATIN_1, &Field::Text(b"x".into()))), "header"),
        (
            CONTENT_TYPE | HEADERS,
            table(&entry(b"t", &Field::Table(entry(LATIN_1, &Field::Text(b"x".into()))))),
            "header",
        ),
        (CONTENT_TYPE | HEADERS, table(&nested), "nested"),
        (CONTENT_TYPE | HEADERS, table(&entry(b"long", &Field::Text(vec![b'x'; 20_000]))), "frame"),
    ]
}

/// Counts lost connections.
fn losses(amqp: &Amqp) -> Arc<AtomicU32> {
    let (lost, mut events) = (Arc::new(AtomicU32::new(0)), amqp.events());
    let count = lost.clone();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if matches!(event.change, ConnectionChange::Lost(_)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    lost
}

/// Adds a parameter to a URL: frames of 8 KiB, so that a header of 20 KB does not fit.
fn with_small_frames(url: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}frame_max=8192")
}

async fn unparsable_jobs_are_dead_letters_and_no_connection_ends(url: String) {
    for (kind_name, kind) in KINDS {
        let name = format!("unparsable.{kind_name}");
        let amqp = connected(&with_small_frames(&url), kind).await;
        dead_lettered(&url, &amqp, &name).await;
    }
}

/// Pushes good and unparsable jobs in turn. Asserts that the good ones are done, and the others
/// dead-lettered with their causes.
async fn dead_lettered(raw_url: &str, amqp: &Amqp, name: &str) {
    let lost = losses(amqp);
    let handle = serve(amqp, name).await;
    let neighbor = client(amqp, name).await;
    let mut jobs = puller(amqp, name, 4).await;
    let mut raw = RawPublisher::connect(raw_url);
    let queue = format!("polywire.jobs.{name}");
    let all = unparsable();
    for (n, (flags, properties, _)) in (1..).zip(&all) {
        raw.publish("", queue.as_bytes(), *flags, properties, b"\x01");
        push(amqp, name, [n]).await;
    }
    let pulling = async {
        let (mut good, mut errors) = (Vec::new(), Vec::new());
        while good.len() < all.len() || errors.len() < all.len() {
            match timeout(PATIENCE, jobs.next()).await.expect("a job arrives").unwrap() {
                Ok(job) => {
                    good.push(*job);
                    job.ack();
                }
                Err(error) => errors.push(error),
            }
        }
        (good, errors)
    };
    let (good, errors) = pulling.await;
    assert_eq!(good, (1..=u32::try_from(all.len()).unwrap()).collect::<Vec<_>>());
    for (error, (_, _, cause)) in errors.iter().zip(&all) {
        assert_eq!(error.kind(), ErrorKind::Codec, "{error:?}");
        assert!(error.to_string().contains(cause), "{error} is not about {cause}");
        assert_eq!(error.detail("queue"), Some(&*queue));
    }
    let dead = dead_letters(amqp, name, all.len()).await;
    // In any order: each copy waits for its own confirm.
    for (_, _, cause) in &all {
        let is_kept = dead.iter().any(|dead| format!("{dead:?}").contains(cause));
        assert!(is_kept, "no dead letter is about {cause}: {dead:?}");
    }
    // Moved back, they are undecodable again.
    let queue = DeadLetters::of_queue(amqp, name).unwrap();
    assert_eq!(queue.redrive(all.len(), |_| true).await.unwrap(), all.len() as u64);
    for _ in &all {
        let again = timeout(PATIENCE, jobs.next()).await.expect("an error arrives").unwrap();
        assert_eq!(again.unwrap_err().kind(), ErrorKind::Codec);
    }
    dead_letters(amqp, name, all.len()).await;
    push(amqp, name, [7]).await;
    assert_eq!(acked_jobs(&mut jobs, 1).await, [7]);
    assert_eq!(neighbor.call::<u32>("double", &4).await.unwrap(), 8);
    assert_eq!(lost.load(Ordering::Relaxed), 0, "connections were lost");
    assert_eq!(handle.stats().rejected, 0);
}

async fn unparsable_requests_are_answered_or_rejected(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let lost = losses(&amqp);
    let handle = serve(&amqp, "unparsable.requests").await;
    let channel = channel(&url).await;
    let mut answers = consume(&channel, "unparsable.answers").await;
    let mut raw = RawPublisher::connect(&url);
    let queue = b"polywire.unparsable.requests";
    let properties = [short(b"x"), short(b"unparsable.answers"), short(LATIN_1)].concat();
    raw.publish("", queue, CORRELATION_ID | REPLY_TO | TYPE, &properties, b"\x01");
    let answer = timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.properties.correlation_id().as_ref().unwrap().as_str(), "x");
    let headers = format!("{:?}", answer.properties.headers());
    assert!(headers.contains("polywire.fault"), "{headers}");
    // No answer is possible to an address that is not UTF-8.
    let properties = [short(b"x"), short(LATIN_1), short(b"double")].concat();
    raw.publish("", queue, CORRELATION_ID | REPLY_TO | TYPE, &properties, b"\x01");
    let client = client(&amqp, "unparsable.requests").await;
    assert_eq!(client.call::<u32>("double", &2).await.unwrap(), 4);
    crate::context::until(|| handle.stats().rejected == 1).await;
    assert_eq!(lost.load(Ordering::Relaxed), 0, "connections were lost");
}

async fn unparsable_events_are_errors(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let lost = losses(&amqp);
    let mut events = subscriber(&amqp, "unparsable", &["#"]).await;
    let mut raw = RawPublisher::connect(&url);
    let content_type = short(MSGPACK);
    raw.publish("polywire.events.unparsable", LATIN_1, CONTENT_TYPE, &content_type, b"\x01");
    let properties = [short(MSGPACK), short(LATIN_1)].concat();
    raw.publish("polywire.events.unparsable", b"a", CONTENT_TYPE | TYPE, &properties, b"\x01");
    for cause in ["routing key", "`type`"] {
        let error = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec, "{error:?}");
        assert!(error.to_string().contains(cause), "{error:?}");
    }
    publisher(&amqp, "unparsable").await.publish("b", &2).await.unwrap();
    assert_eq!(*next_event(&mut events).await, 2);
    assert_eq!(lost.load(Ordering::Relaxed), 0, "connections were lost");
}

async fn unparsable_replies_fail_their_calls_alone(url: String) {
    let channel = channel(&url).await;
    let mut requests = consume(&channel, "polywire.unparsable.replies").await;
    let amqp = Amqp::connect(&url).await.unwrap();
    let lost = losses(&amqp);
    let client = client(&amqp, "unparsable.replies").await;
    let mut raw = RawPublisher::connect(&url);
    for (flags, last) in [(TYPE, short(LATIN_1)), (0, Vec::new())] {
        let call = client.request("say").start::<u32>(&1).unwrap();
        let request = timeout(PATIENCE, requests.next()).await.unwrap().unwrap().unwrap();
        let id = request.properties.correlation_id().clone().unwrap();
        let reply_to = request.properties.reply_to().clone().unwrap();
        let properties = [short(MSGPACK), short(id.as_str().as_bytes()), last].concat();
        let flags = CONTENT_TYPE | CORRELATION_ID | flags;
        raw.publish("", reply_to.as_str().as_bytes(), flags, &properties, b"\x01");
        if flags & TYPE == 0 {
            assert_eq!(call.await.unwrap(), 1);
            continue;
        }
        let error = call.await.unwrap_err();
        assert_eq!(error.kind(), Some(ErrorKind::Codec), "{error:?}");
        assert!(format!("{error:?}").contains("`type`"), "{error:?}");
    }
    assert_eq!(lost.load(Ordering::Relaxed), 0, "connections were lost");
}

async fn unparsable_dead_letters_are_read_and_discarded(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let lost = losses(&amqp);
    drop(puller(&amqp, "unparsable.dead", 1).await);
    let queue = DeadLetters::of_queue(&amqp, "unparsable.dead").unwrap();
    assert!(queue.look(1).await.unwrap().is_empty());
    let mut raw = RawPublisher::connect(&url);
    let properties = short(LATIN_1);
    raw.publish("", b"polywire.dead.jobs.unparsable.dead", TYPE, &properties, b"\x01");
    let dead = dead_letters(&amqp, "unparsable.dead", 1).await;
    assert!(format!("{dead:?}").contains("`type`"), "{dead:?}");
    assert_eq!(queue.discard(1, |_| true).await.unwrap(), 1);
    assert!(queue.look(1).await.unwrap().is_empty());
    assert_eq!(lost.load(Ordering::Relaxed), 0, "connections were lost");
}

#[cfg(feature = "tls")]
async fn unparsable_jobs_are_dead_letters_over_tls() {
    use crate::certificates::{certificate_folder, create_certificates};

    let folder = certificate_folder("unparsable");
    create_certificates(&folder);
    let node = polywire_rabbitmq_node::Setup::new().certificates(&folder).start().unwrap();
    let port = node.tls_port().unwrap();
    let ca = folder.join("ca.pem");
    let url =
        format!("amqps://guest:guest@localhost:{port}?frame_max=8192&cacertfile={}", ca.display());
    let amqp = Amqp::connect(&url).await.unwrap();
    dead_lettered(&node.url(), &amqp, "unparsable.tls").await;
}
