//! The AMQP client alone, with the protocol of polywire: durable queues, persistent and mandatory
//! messages, confirms in both directions, each request acknowledged after the confirm of its reply.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Consumer};
use tokio::sync::mpsc;

use crate::echo::Echo;
use crate::lapin_publisher::{
    Acks, OnConfirm, PREFETCH, Publisher, Publishing, confirm_all, consume, next, open_publisher,
    open_queue,
};
use crate::waiting_calls::WaitingCalls;

/// Prints the URL and its queue when ready, and echoes requests until the connection is lost. With
/// `holds`, answers none, and may hold 65,535.
///
/// The queue has the number of the process in its name, so that no request of an earlier
/// measurement is in it.
///
/// At most `PREFETCH` replies wait for their confirms: a request is acknowledged after the confirm
/// of its reply, and the broker delivers no more before. If the task for confirms fails, the next
/// request ends the server with an error.
pub(crate) async fn serve(url: &str, holds: bool) -> Result<()> {
    let queue = format!("bench.requests.{}", std::process::id());
    let (publisher, channel) = (open_publisher(url).await?, open_queue(url, &queue).await?);
    let prefetch = if holds { u16::MAX } else { PREFETCH };
    let mut requests = consume(&channel, &queue, prefetch).await?;
    println!("{url} {queue}");
    std::io::stdout().flush()?;
    let mut held = Vec::new();
    let (confirms, confirmed) = mpsc::unbounded_channel();
    let confirming = tokio::spawn(confirm_all(confirmed, Acks::new(channel)));
    while let Some(request) = requests.next().await {
        let request = request?;
        if holds {
            held.push(request);
            continue;
        }
        let id = request
            .properties
            .correlation_id()
            .clone()
            .context("the request has no correlation id")?;
        let reply_to =
            request.properties.reply_to().clone().context("the request has no reply queue")?;
        let properties = BasicProperties::default().with_correlation_id(id).with_delivery_mode(2);
        let publishing = publisher.publish("".into(), reply_to, request.data, properties);
        confirms
            .send((request.delivery_tag, publishing))
            .ok()
            .context("the task for confirms has ended")?;
    }
    confirming.abort();
    Ok(())
}

/// A caller: a call id, a table of waiting calls, a wake-up. No call waits for its confirm.
///
/// One task awaits the confirms, another one reads the replies. If either ends, all calls fail.
#[derive(Clone)]
pub(crate) struct LapinCaller(Arc<Inner>);

/// Shared part of a caller. `confirms` leads to the task that awaits the confirms of the requests.
///
/// The queue of confirms has no bound: a confirm may arrive after the reply.
struct Inner {
    /// The channel for requests, on a connection of its own.
    publisher: Publisher,
    /// The queue of the server.
    requests: ShortString,
    /// The queue of this process, whose name each request has as `reply_to`.
    replies: ShortString,
    confirms: mpsc::UnboundedSender<(u64, Publishing)>,
    /// Calls by the number that their correlation ids have as decimal text.
    waiting: Arc<WaitingCalls<Vec<u8>>>,
    /// Keeps the connection open.
    _channel: Arc<Channel>,
}

impl LapinCaller {
    /// Opens a connection for requests and one for replies. `at` is the URL and the queue of the
    /// server, with a space between them.
    pub(crate) async fn connect(at: &str) -> Result<Self> {
        let (url, requests) = at.split_once(' ').context("the address has no queue")?;
        let queue = format!("bench.replies.{}", std::process::id());
        let (publisher, channel) = (open_publisher(url).await?, open_queue(url, &queue).await?);
        let replies = consume(&channel, &queue, PREFETCH).await?;
        let (confirms, confirmed) = mpsc::unbounded_channel();
        let waiting = WaitingCalls::new();
        waiting.spawn(confirm_all(confirmed, ()));
        waiting.spawn(read_all(replies, channel.clone(), waiting.clone()));
        let (requests, replies) = (requests.into(), queue.into());
        Ok(Self(Arc::new(Inner {
            publisher,
            requests,
            replies,
            confirms,
            waiting,
            _channel: channel,
        })))
    }
}

impl Echo for LapinCaller {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let (id, reply) = self.0.waiting.begin()?;
        let properties = BasicProperties::default()
            .with_correlation_id(id.to_string().into())
            .with_reply_to(self.0.replies.clone())
            .with_delivery_mode(2);
        let (requests, body) = (self.0.requests.clone(), body.to_vec());
        let publishing = self.0.publisher.publish("".into(), requests, body, properties);
        self.0.confirms.send((0, publishing)).ok().context("the task for confirms has ended")?;
        Ok(reply.await.context("the connection is lost")?.into())
    }
}

/// Hands each reply to the call of its id, until the consumer ends. Replies are acknowledged many
/// at a time.
///
/// Fails if the consumer reports an error, or if a reply has no number as its correlation id.
async fn read_all(
    mut replies: Consumer,
    channel: Arc<Channel>,
    waiting: Arc<WaitingCalls<Vec<u8>>>,
) -> Result<()> {
    let mut acks = Acks::new(channel);
    while let Some(reply) = next(&mut replies, &mut acks).await {
        let reply = reply?;
        acks.confirmed(reply.delivery_tag);
        let id: u64 = reply
            .properties
            .correlation_id()
            .as_ref()
            .context("the reply has no correlation id")?
            .as_str()
            .parse()?;
        waiting.complete(id, reply.data);
    }
    Ok(())
}
