//! Batches of calls, as another program would read and write them.

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicPublishOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Consumer};
use tokio::time::timeout;

use crate::context::PATIENCE;
use crate::engine::consume;

/// A program that takes the requests of a service, and knows its queue of batches or not.
pub(crate) struct BatchPeer {
    pub(crate) channel: Channel,
    single: Consumer,
    batches: Option<Consumer>,
}

/// Calls that arrived as one message.
pub(crate) struct Arrived {
    pub(crate) properties: BasicProperties,
    pub(crate) body: Vec<u8>,
    /// The correlation ids.
    pub(crate) ids: Vec<String>,
    pub(crate) is_batch: bool,
}

impl BatchPeer {
    pub(crate) async fn new(channel: Channel, service: &str, reads_batches: bool) -> Self {
        let single = consume(&channel, &format!("polywire.{service}")).await;
        let batches = match reads_batches {
            true => Some(consume(&channel, &format!("polywire.{service}..batches")).await),
            false => None,
        };
        Self { channel, single, batches }
    }

    /// Takes the next message of either queue.
    pub(crate) async fn next(&mut self) -> Arrived {
        let Self { single, batches, .. } = self;
        let next = async {
            match batches {
                None => (single.next().await, false),
                Some(batches) => tokio::select! {
                    next = single.next() => (next, false),
                    next = batches.next() => (next, true),
                },
            }
        };
        let (raw, is_batch) = timeout(PATIENCE, next).await.expect("a request arrives");
        let raw = raw.unwrap().unwrap();
        let ack = BasicAckOptions::default();
        self.channel.basic_ack(raw.delivery_tag, ack).await.unwrap();
        let properties = raw.properties;
        let id = properties.correlation_id().as_ref().map(ToString::to_string);
        let ids = if is_batch { entries(&raw.data) } else { id.into_iter().collect() };
        Arrived { properties, body: raw.data, ids, is_batch }
    }

    /// Replies 1 to a call, and announces batches of up to `calls` calls.
    pub(crate) async fn reply(&self, to: &Arrived, id: &str, calls: Option<i64>) {
        let mut headers = FieldTable::default();
        if let Some(calls) = calls {
            headers.insert("polywire.batches".into(), AMQPValue::LongLongInt(calls));
        }
        let properties = BasicProperties::default()
            .with_correlation_id(id.into())
            .with_content_type("application/msgpack".into())
            .with_headers(headers);
        let queue = to.properties.reply_to().as_ref().unwrap().as_str();
        publish(&self.channel, queue, properties, b"\x01").await;
    }
}

/// Returns the correlation ids of the entries of a batch.
pub(crate) fn entries(mut body: &[u8]) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some((length, rest)) = body.split_first_chunk::<4>() {
        let (entry, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        let id = &entry[2..2 + usize::from(entry[1])];
        ids.push(String::from_utf8(id.to_vec()).unwrap());
        body = rest;
    }
    ids
}

/// Returns the body of a batch with calls of `method`, one for each number below 128. Its
/// correlation ids are `1-0`, `1-1` and so on.
pub(crate) fn batch_of(method: &str, numbers: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut body = Vec::new();
    for (index, number) in numbers.into_iter().enumerate() {
        let mut entry = vec![1 | 2];
        for text in [&format!("1-{index}"), method, "application/msgpack"] {
            entry.push(u8::try_from(text.len()).unwrap());
            entry.extend(text.as_bytes());
        }
        entry.push(number);
        body.extend(u32::try_from(entry.len()).unwrap().to_be_bytes());
        body.extend(entry);
    }
    body
}

/// Publishes a batch of calls that get their replies at `reply_queue`.
pub(crate) async fn publish_batch(
    channel: &Channel,
    service: &str,
    reply_queue: &str,
    body: &[u8],
) {
    let properties = BasicProperties::default()
        .with_type("polywire.batch.calls".into())
        .with_reply_to(reply_queue.into())
        .with_expiration("60000".into());
    publish(channel, &format!("polywire.{service}..batches"), properties, body).await;
}

pub(crate) async fn publish(
    channel: &Channel,
    queue: &str,
    properties: BasicProperties,
    body: &[u8],
) {
    let options = BasicPublishOptions::default();
    let queue = ShortString::from(queue);
    channel.basic_publish("".into(), queue, options, body, properties).await.unwrap();
}
