//! Batches of calls at servers: replies in batches, lost servers, declines, and mixed versions.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex};

use futures_util::future::try_join_all;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicPublishOptions};
use lapin::types::{AMQPValue, ShortString};
use lapin::{BasicProperties, Channel, Consumer};
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, CallBatching};
use polywire_codec::MessagePack;
use polywire_core::rpc::ServerHandle;
use polywire_core::{Address, Context, Fault, Router, Server, Transport, Window};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::batch_peer::{batch_of, entries, publish_batch};
use crate::context::{PATIENCE, through_proxy, until};
use crate::endpoints::{builder, client, serve};
use crate::engine::{channel, consume, ready_count, until_declared};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker batch_is_answered_in_batches_and_settled_once,
        broker redelivered_batch_goes_back_to_its_client,
        broker malformed_batches_are_dropped,
        broker server_that_reads_no_batches_ends_their_announcement,
        broker calls_of_a_lost_server_run_again_without_those_that_were_answered,
        broker declined_calls_leave_their_batch,
        broker calls_that_a_dropped_server_has_not_begun_run_at_another,
    ]
}

async fn batching(url: &str) -> Amqp {
    builder(url).batching(CallBatching::Auto).build().await.unwrap()
}

/// Calls `double` as another program does. Returns the number of calls that the server announces.
async fn announced(channel: &Channel, replies: &mut Consumer, service: &str) -> Option<i64> {
    let queue = replies.queue();
    let properties = BasicProperties::default()
        .with_type("double".into())
        .with_content_type("application/msgpack".into())
        .with_correlation_id("1-9".into())
        .with_reply_to(queue);
    let (to, options) = (format!("polywire.{service}"), BasicPublishOptions::default());
    let to = ShortString::from(to);
    channel.basic_publish("".into(), to, options, b"\x01", properties).await.unwrap();
    let reply = next(replies).await.properties;
    match reply.headers().as_ref()?.inner().get("polywire.batches")? {
        AMQPValue::LongLongInt(calls) => Some(*calls),
        other => panic!("{other:?}"),
    }
}

/// Waits until a server announces batches, or until ten replies in a row announce none. Returns the
/// number of replies.
async fn until_announced(channel: &Channel, service: &str, is_announced: bool) -> u64 {
    let mut replies = consume(channel, &format!("replies.{service}")).await;
    let waiting = async {
        let (mut without, mut count) = (0, 0);
        loop {
            count += 1;
            match announced(channel, &mut replies, service).await {
                Some(_) if is_announced => return count,
                Some(_) => without = 0,
                None => without += 1,
            }
            if !is_announced && without >= 10 {
                return count;
            }
        }
    };
    timeout(PATIENCE, waiting).await.expect("the announcement changes")
}

async fn next(consumer: &mut Consumer) -> lapin::message::Delivery {
    let raw = timeout(PATIENCE, consumer.next()).await.expect("a message arrives");
    let raw = raw.unwrap().unwrap();
    raw.acker.ack(BasicAckOptions::default()).await.unwrap();
    raw
}

async fn batch_is_answered_in_batches_and_settled_once(url: String) {
    let service = "batches.answered";
    let amqp = batching(&url).await;
    let server = serve(&amqp, service).await;
    let engine = channel(&url).await;
    until_announced(&engine, service, true).await;
    let mut replies = consume(&engine, "replies.batches").await;
    until(|| server.stats().running == 0).await;
    let answered = server.stats().answered;
    publish_batch(&engine, service, "replies.batches", &batch_of("double", 0..60)).await;
    let (mut ids, mut batches) = (Vec::new(), 0);
    while ids.len() < 60 {
        let reply = next(&mut replies).await;
        match reply.properties.kind().as_ref().map(ShortString::as_str) {
            Some("polywire.batch.replies") => {
                batches += 1;
                ids.extend(entries(&reply.data));
            }
            None => ids.push(reply.properties.correlation_id().clone().unwrap().to_string()),
            other => panic!("{other:?}"),
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), batches > 0), (60, true));
    until(|| server.stats().answered == answered + 60 && server.stats().running == 0).await;
    amqp.close().await.unwrap();
    assert_eq!(ready_count(&engine, &format!("polywire.{service}..batches")).await, 0);
}

/// A consumer takes the batch first, and is gone without settling it.
async fn redelivered_batch_goes_back_to_its_client(url: String) {
    let service = "batches.redelivered";
    let (dying, engine) = (channel(&url).await, channel(&url).await);
    let mut taken = consume(&dying, &format!("polywire.{service}..batches")).await;
    let mut replies = consume(&engine, "replies.redelivered").await;
    let body = batch_of("double", 0..5);
    publish_batch(&engine, service, "replies.redelivered", &body).await;
    publish_batch(&engine, service, "replies.gone", &body).await;
    for _ in 0..2 {
        timeout(PATIENCE, taken.next()).await.unwrap().unwrap().unwrap();
    }
    let amqp = batching(&url).await;
    let _server = serve(&amqp, service).await;
    dying.close(200, "bye".into()).await.unwrap();
    let returned = next(&mut replies).await;
    let kind = returned.properties.kind().as_ref().unwrap().as_str();
    assert_eq!((kind, &returned.data), ("polywire.batch.returned", &body));
    assert!(returned.properties.expiration().is_some());
    until_announced(&engine, service, true).await;
    amqp.close().await.unwrap();
    assert_eq!(ready_count(&engine, &format!("polywire.{service}..batches")).await, 0);
    assert!(replies.next().now_or_never().is_none(), "no call of the batch was run");
}

async fn malformed_batches_are_dropped(url: String) {
    let service = "batches.malformed";
    let amqp = batching(&url).await;
    let _server = serve(&amqp, service).await;
    let engine = channel(&url).await;
    until_announced(&engine, service, true).await;
    let mut replies = consume(&engine, "replies.malformed").await;
    let mut cut = batch_of("double", [1, 2]);
    cut.pop();
    for body in [&b""[..], b"\xff\xff\xff\xff", &cut, &vec![0; 40_000]] {
        publish_batch(&engine, service, "replies.malformed", body).await;
    }
    // The method of the first call is no address, so that its caller gets a fault.
    let mut body = batch_of("a..b", [1]);
    body.extend(batch_of("double", [2]));
    publish_batch(&engine, service, "replies.malformed", &body).await;
    let mut answered = 0;
    while answered < 2 {
        let reply = next(&mut replies).await;
        let is_batch = reply.properties.kind().is_some();
        answered += if is_batch { entries(&reply.data).len() } else { 1 };
    }
}

async fn server_that_reads_no_batches_ends_their_announcement(url: String) {
    let service = "batches.mixed";
    let amqp = batching(&url).await;
    let _server = serve(&amqp, service).await;
    let engine = channel(&url).await;
    until_announced(&engine, service, true).await;
    let older = Amqp::connect(&url).await.unwrap();
    let _older = serve(&older, service).await;
    until_announced(&engine, service, false).await;
    older.close().await.unwrap();
    until_announced(&engine, service, true).await;
}

/// The numbers of handlers that have begun, by the argument, and how many of their requests were
/// marked as redelivered.
type Runs = Arc<Mutex<BTreeMap<u32, (u32, u32)>>>;

/// Serves `run`: even numbers are answered at once, odd ones when the gate has a permit.
async fn serve_runs(
    amqp: &Amqp,
    service: &str,
    gate: &Arc<Semaphore>,
    runs: &Runs,
) -> ServerHandle {
    let server = Server::bind(amqp, Address::new(service).unwrap());
    let server = server.window(Window::new(512)).await.unwrap();
    let (handle, gate, runs) = (server.handle(), gate.clone(), runs.clone());
    let router = Router::new(MessagePack)
        .method("double", |n: u32| async move { Ok(2 * n) })
        .method("run", move |context: Context, n: u32| {
            let (gate, runs) = (gate.clone(), runs.clone());
            async move {
                {
                    let mut runs = runs.lock().unwrap();
                    let (begun, redelivered) = runs.entry(n).or_default();
                    *begun += 1;
                    *redelivered += u32::from(context.is_redelivered());
                }
                if n % 2 == 1 {
                    gate.acquire().await.unwrap().forget();
                }
                Ok(n)
            }
        });
    tokio::spawn(server.serve(router));
    handle
}

async fn calls_of_a_lost_server_run_again_without_those_that_were_answered(url: String) {
    let service = "batches.lost";
    let (proxy, through) = through_proxy(&url).await;
    let dying = through.batching(CallBatching::Auto).build().await.unwrap();
    let (gate, runs) = (Arc::new(Semaphore::new(0)), Runs::default());
    let first = serve_runs(&dying, service, &gate, &runs).await;
    let engine = channel(&url).await;
    let announcing = until_announced(&engine, service, true).await;
    let calling = batching(&url).await;
    let client = client(&calling, service).await;
    assert_eq!(client.request("double").call::<u32>(&1).await.unwrap(), 2);
    // A reply counts once it is confirmed, and may arrive before.
    let before = announcing + 1;
    until(|| first.stats().running == 0 && first.stats().answered == before).await;
    let start =
        |n: u32| client.request("run").timeout(PATIENCE).start::<u32>(&n).unwrap().into_future();
    let waiting = tokio::spawn(try_join_all((0..200).map(start)));
    until(|| first.stats().running == 100 && first.stats().answered == before + 100).await;
    let serving = batching(&url).await;
    let open = Arc::new(Semaphore::new(200));
    let again = Runs::default();
    let second = serve_runs(&serving, service, &open, &again).await;
    proxy.sever();
    drop((proxy, dying));
    let replies = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
    assert!(replies.into_iter().eq(0..200));
    assert_eq!(runs.lock().unwrap().len(), 200);
    let again = again.lock().unwrap().clone();
    assert!(again.keys().copied().eq((0..200).filter(|n| n % 2 == 1)), "{again:?}");
    assert!(again.values().all(|runs| *runs == (1, 1)), "{again:?}");
    until(|| second.stats().running == 0).await;
}

async fn declined_calls_leave_their_batch(url: String) {
    let service = "batches.declined";
    let (declining, amqp) = (batching(&url).await, batching(&url).await);
    let server = Server::bind(&declining, service).await.unwrap();
    let declines = server.handle();
    let router = Router::new(MessagePack).method("double", |n: u32| async move {
        if n % 2 == 1 { Err(Fault::declined("odd")) } else { Ok(2 * n) }
    });
    tokio::spawn(server.serve(router));
    let engine = channel(&url).await;
    until_declared(&url, &format!("polywire.{service}..batches")).await;
    // The first server takes the batch, since there is no other one.
    let mut replies = consume(&engine, "replies.declined").await;
    publish_batch(&engine, service, "replies.declined", &batch_of("double", [2; 40])).await;
    let mut answered = 0;
    while answered < 40 {
        let reply = next(&mut replies).await;
        let is_batch = reply.properties.kind().is_some();
        answered += if is_batch { entries(&reply.data).len() } else { 1 };
    }
    let _server = serve(&amqp, service).await;
    for _ in 0..8 {
        publish_batch(&engine, service, "replies.declined", &batch_of("double", 0..10)).await;
    }
    let mut answered = 0;
    while answered < 80 {
        let reply = next(&mut replies).await;
        let headers = reply.properties.headers().as_ref();
        assert!(headers.is_none_or(|headers| !headers.inner().contains_key("polywire.fault")));
        let is_batch = reply.properties.kind().is_some();
        answered += if is_batch { entries(&reply.data).len() } else { 1 };
    }
    assert!(declines.stats().declined > 0);
}

async fn calls_that_a_dropped_server_has_not_begun_run_at_another(url: String) {
    let service = "batches.dropped";
    let (dying, serving) = (batching(&url).await, batching(&url).await);
    let (gate, runs) = (Arc::new(Semaphore::new(0)), Runs::default());
    let first = serve_runs(&dying, service, &gate, &runs).await;
    let engine = channel(&url).await;
    until_announced(&engine, service, true).await;
    let mut replies = consume(&engine, "replies.dropped").await;
    for _ in 0..6 {
        publish_batch(&engine, service, "replies.dropped", &batch_of("run", [1; 50])).await;
    }
    until(|| first.stats().running == 300).await;
    let again = Runs::default();
    let _second = serve_runs(&serving, service, &Arc::new(Semaphore::new(999)), &again).await;
    dying.close().await.unwrap();
    // The client gets the batches that the first server had begun.
    let mut returned = 0;
    while returned < 300 {
        let reply = next(&mut replies).await;
        match reply.properties.kind().as_ref().map(ShortString::as_str) {
            Some(_) => returned += entries(&reply.data).len(),
            None => returned += 1,
        }
    }
}
