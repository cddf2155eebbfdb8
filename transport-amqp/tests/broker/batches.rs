//! Batches of calls: those of clients, as servers of another kind see them.

use std::future::IntoFuture;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use lapin::BasicProperties;
use lapin::options::BasicAckOptions;
use lapin::types::AMQPValue;
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, CallBatching};
use polywire_codec::MessagePack;
use polywire_core::Client;
use tokio::time::timeout;

use crate::batch_peer::{Arrived, BatchPeer, publish};
use crate::context::PATIENCE;
use crate::endpoints::{builder, client};
use crate::engine::{channel, consume};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker calls_leave_in_batches_under_load_once_a_server_reads_them,
        broker calls_leave_alone_without_a_queue_of_batches_or_an_announcement,
        broker calls_with_wishes_of_their_own_leave_alone,
        broker calls_of_a_returned_batch_are_sent_again_once_if_they_wait,
    ]
}

/// Calls at a time, of which several are ready to leave at once.
const CALLS: usize = 100;

async fn batching(url: &str) -> Amqp {
    builder(url).batching(CallBatching::Auto).build().await.unwrap()
}

/// Makes one call, which the peer answers.
async fn first_call(client: &Client<MessagePack>, peer: &mut BatchPeer, calls: Option<i64>) {
    let call = client.request("m").timeout(PATIENCE).start::<u32>(&1).unwrap();
    let arrived = peer.next().await;
    assert!(!arrived.is_batch, "a lone call leaves alone");
    peer.reply(&arrived, &arrived.ids[0], calls).await;
    assert_eq!(call.await.unwrap(), 1);
}

/// Makes calls at a time, all of which the peer answers. Returns the sizes of the batches.
async fn load(
    client: &Client<MessagePack>,
    peer: &mut BatchPeer,
    calls: Option<i64>,
) -> Vec<usize> {
    let start = |_| client.request("m").timeout(PATIENCE).start::<u32>(&1).unwrap().into_future();
    let waiting = tokio::spawn(try_join_all((0..CALLS).map(start)));
    let (mut answered, mut sizes) = (0, Vec::new());
    while answered < CALLS {
        let arrived = peer.next().await;
        for id in &arrived.ids {
            peer.reply(&arrived, id, calls).await;
        }
        answered += arrived.ids.len();
        if arrived.is_batch {
            sizes.push(arrived.ids.len());
        }
    }
    assert_eq!(timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap(), [1; CALLS]);
    sizes
}

async fn calls_leave_in_batches_under_load_once_a_server_reads_them(url: String) {
    let amqp = batching(&url).await;
    let mut peer = BatchPeer::new(channel(&url).await, "batched.load", true).await;
    let client = client(&amqp, "batched.load").await;
    first_call(&client, &mut peer, Some(8)).await;
    first_call(&client, &mut peer, Some(8)).await;
    let sizes = load(&client, &mut peer, Some(8)).await;
    assert!(sizes.iter().all(|size| (2..=8).contains(size)), "{sizes:?}");
    assert!(sizes.iter().sum::<usize>() > CALLS / 2, "{sizes:?}");
    first_call(&client, &mut peer, None).await;
}

async fn calls_leave_alone_without_a_queue_of_batches_or_an_announcement(url: String) {
    let amqp = batching(&url).await;
    for (service, reads_batches, calls) in
        [("batched.unread", false, Some(8)), ("batched.unsaid", true, None)]
    {
        let mut peer = BatchPeer::new(channel(&url).await, service, reads_batches).await;
        let client = client(&amqp, service).await;
        first_call(&client, &mut peer, calls).await;
        assert!(load(&client, &mut peer, calls).await.is_empty(), "{service}");
    }
    let off = Amqp::connect(&url).await.unwrap();
    let mut peer = BatchPeer::new(channel(&url).await, "batched.off", true).await;
    let client = client(&off, "batched.off").await;
    first_call(&client, &mut peer, Some(8)).await;
    assert!(load(&client, &mut peer, Some(8)).await.is_empty());
}

async fn calls_with_wishes_of_their_own_leave_alone(url: String) {
    let amqp = batching(&url).await;
    let mut peer = BatchPeer::new(channel(&url).await, "batched.wishes", true).await;
    let client = client(&amqp, "batched.wishes").await;
    first_call(&client, &mut peer, Some(64)).await;
    let long = 5 * PATIENCE;
    let waiting: Vec<_> = (0..8)
        .flat_map(|_| {
            let call = || client.request("m").timeout(PATIENCE);
            [
                call().at_most_once().start::<u32>(&1).unwrap(),
                call().transient().start(&1).unwrap(),
                call().priority(0).start(&1).unwrap(),
                client.request("m").timeout(long).start(&1).unwrap(),
                call().start(&vec![7_u8; 5_000]).unwrap(),
            ]
        })
        .map(IntoFuture::into_future)
        .collect();
    let waiting = tokio::spawn(try_join_all(waiting));
    for _ in 0..40 {
        let arrived = peer.next().await;
        assert!(!arrived.is_batch);
        peer.reply(&arrived, &arrived.ids[0], Some(64)).await;
    }
    timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
}

async fn calls_of_a_returned_batch_are_sent_again_once_if_they_wait(url: String) {
    let amqp = batching(&url).await;
    let engine = channel(&url).await;
    let mut suspects = consume(&engine, "polywire.batched.returned..suspects").await;
    let mut peer = BatchPeer::new(engine, "batched.returned", true).await;
    let client = client(&amqp, "batched.returned").await;
    first_call(&client, &mut peer, Some(64)).await;
    let start = |_| client.request("m").timeout(PATIENCE).start::<u32>(&1).unwrap().into_future();
    let waiting = tokio::spawn(try_join_all((0..CALLS).map(start)));
    let (mut answered, mut batches) = (0, Vec::<Arrived>::new());
    while answered < CALLS {
        let arrived = peer.next().await;
        answered += arrived.ids.len();
        if arrived.is_batch {
            batches.push(arrived);
        } else {
            peer.reply(&arrived, &arrived.ids[0], None).await;
        }
    }
    // The server has answered each second call of its batches.
    let mut left = Vec::new();
    for batch in &batches {
        for (index, id) in batch.ids.iter().enumerate() {
            match index % 2 {
                0 => peer.reply(batch, id, None).await,
                _ => left.push(id.clone()),
            }
        }
    }
    assert!(!left.is_empty());
    for batch in batches.iter().chain(&batches) {
        let queue = batch.properties.reply_to().as_ref().unwrap().as_str();
        let properties = BasicProperties::default()
            .with_type("polywire.batch.returned".into())
            .with_expiration("60000".into());
        publish(&peer.channel, queue, properties, &batch.body).await;
    }
    let mut again = Vec::new();
    while again.len() < left.len() {
        let raw = timeout(PATIENCE, suspects.next()).await.unwrap().unwrap().unwrap();
        raw.acker.ack(BasicAckOptions::default()).await.unwrap();
        let headers = raw.properties.headers().as_ref().unwrap().inner();
        assert_eq!(headers.get("polywire.crashes"), Some(&AMQPValue::LongLongInt(0)));
        let id = raw.properties.correlation_id().as_ref().unwrap().to_string();
        assert_eq!(raw.properties.kind().as_ref().unwrap().as_str(), "m");
        let arrived = Arrived {
            properties: raw.properties.clone(),
            body: Vec::new(),
            ids: vec![id.clone()],
            is_batch: false,
        };
        peer.reply(&arrived, &id, None).await;
        again.push(id);
    }
    again.sort();
    left.sort();
    assert_eq!(again, left);
    assert_eq!(timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap(), [1; CALLS]);
}
