//! The AMQP client alone, with the protocol of polywire: durable queues, persistent and mandatory
//! messages, confirms in both directions, each request acknowledged after the confirm of its reply.
//!
//! The structure is the fastest one found: the publisher polls the future once under a lock, which
//! queues the frames in order; one task awaits the confirms in that order.

use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use tokio::sync::mpsc;

use crate::load::Echo;
use crate::waiting_calls::WaitingCalls;

const REQUESTS: &str = "bench.requests";
const REPLIES: &str = "bench.replies";
/// Unacknowledged deliveries that a consumer may hold, as of `basic.qos`.
const PREFETCH: u16 = 1024;

/// Prints the URL when ready, and echoes requests until the connection is lost.
pub(crate) async fn serve(url: &str) -> Result<()> {
    let (publisher, channel, mut requests) = open(url, REQUESTS).await?;
    println!("{url}");
    std::io::stdout().flush()?;
    let acks = Acks { channel, done: 0 };
    let (confirms, confirmed) = mpsc::unbounded_channel();
    let confirming = tokio::spawn(confirm_all(confirmed, acks));
    while let Some(request) = requests.next().await {
        let request = request?;
        let id = request
            .properties
            .correlation_id()
            .clone()
            .context("the request has no correlation id")?;
        let reply_to =
            request.properties.reply_to().clone().context("the request has no reply queue")?;
        let properties = BasicProperties::default().with_correlation_id(id).with_delivery_mode(2);
        let publishing = publisher.publish(reply_to, request.data, properties);
        confirms
            .send((request.delivery_tag, publishing))
            .ok()
            .context("the task for confirms has ended")?;
    }
    confirming.abort();
    Ok(())
}

/// A caller: a call id, a table of waiting calls, a wake-up. No call waits for its confirm.
#[derive(Clone)]
pub(crate) struct LapinCaller(Arc<Inner>);

/// Shared part of a caller. `confirms` leads to the task that awaits the confirms of the requests.
struct Inner {
    publisher: Publisher,
    confirms: mpsc::UnboundedSender<(u64, Publishing)>,
    waiting: Arc<WaitingCalls<Vec<u8>>>,
    /// Keeps the connection open.
    _channel: Arc<Channel>,
}

impl LapinCaller {
    /// Opens a connection for requests and one for replies.
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let (publisher, channel, replies) = open(url, REPLIES).await?;
        let (confirms, confirmed) = mpsc::unbounded_channel();
        let waiting = WaitingCalls::new();
        waiting.spawn(confirm_all(confirmed, ()));
        waiting.spawn(read_all(replies, channel.clone(), waiting.clone()));
        Ok(Self(Arc::new(Inner { publisher, confirms, waiting, _channel: channel })))
    }
}

impl Echo for LapinCaller {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let (id, reply) = self.0.waiting.begin()?;
        let properties = BasicProperties::default()
            .with_correlation_id(id.to_string().into())
            .with_reply_to(REPLIES.into())
            .with_delivery_mode(2);
        let publishing = self.0.publisher.publish(REQUESTS.into(), body.to_vec(), properties);
        self.0.confirms.send((0, publishing)).ok().context("the task for confirms has ended")?;
        Ok(reply.await.context("the connection is lost")?.into())
    }
}

/// Acknowledges each reply and hands it to the call of its id, until the consumer ends.
async fn read_all(
    mut replies: Consumer,
    channel: Arc<Channel>,
    waiting: Arc<WaitingCalls<Vec<u8>>>,
) -> Result<()> {
    while let Some(reply) = replies.next().await {
        let reply = reply?;
        acknowledge(&channel, reply.delivery_tag, false);
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

/// Opens a connection to publish on, with confirms, and another one to consume from `queue`. The
/// queue is durable, and the broker removes it after five minutes without use (`x-expires`).
async fn open(url: &str, queue: &'static str) -> Result<(Publisher, Arc<Channel>, Consumer)> {
    let publishing = connect(url).await?.create_channel().await?;
    publishing.confirm_select(ConfirmSelectOptions::default()).await?;
    let consuming = Arc::new(connect(url).await?.create_channel().await?);
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-expires".into(), AMQPValue::LongInt(300_000));
    consuming.queue_declare(queue.into(), durable, arguments).await?;
    consuming.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = consuming.basic_consume(queue.into(), "".into(), options, arguments).await?;
    Ok((
        Publisher { channel: Arc::new(publishing), first_poll: Arc::default() },
        consuming,
        consumer,
    ))
}

/// Connects with frames of up to 128 KiB, the default of RabbitMQ.
async fn connect(url: &str) -> Result<Connection> {
    let mut uri: AMQPUri = url.parse().map_err(anyhow::Error::msg)?;
    uri.query.frame_max = Some(131_072);
    Ok(Connection::connect_uri(uri, ConnectionProperties::default()).await?)
}

/// A message that is sent, until the broker has confirmed it.
type Publishing = Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>;

/// A publisher on one channel, which any number of tasks share.
struct Publisher {
    channel: Arc<Channel>,
    /// Held during the first poll: without the lock, a confirm sometimes reaches another message.
    first_poll: Arc<Mutex<()>>,
}

impl Publisher {
    /// Queues a mandatory message to a queue, by the default exchange, and returns the future of
    /// its confirm.
    fn publish(
        &self,
        queue: ShortString,
        body: Vec<u8>,
        properties: BasicProperties,
    ) -> Publishing {
        let channel = self.channel.clone();
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let mut publishing: Publishing = Box::pin(async move {
            channel.basic_publish("".into(), queue, options, &body, properties).await?.await
        });
        let _first = self.first_poll.lock().unwrap_or_else(PoisonError::into_inner);
        match poll_once(publishing.as_mut()) {
            Poll::Ready(done) => Box::pin(std::future::ready(done)),
            Poll::Pending => publishing,
        }
    }
}

/// Handles the confirm of a message.
trait OnConfirm: Send + 'static {
    /// Handles the confirm of the message that belongs to the delivery `tag`. Confirms come in the
    /// order of publishing.
    fn confirmed(&mut self, tag: u64);
    /// Runs when no further confirm has arrived yet.
    fn pause(&mut self);
}

impl OnConfirm for () {
    fn confirmed(&mut self, _: u64) {}
    fn pause(&mut self) {}
}

/// Acknowledges requests in their order, many at a time.
struct Acks {
    channel: Arc<Channel>,
    /// The largest delivery tag whose reply is confirmed, and which is not acknowledged yet; 0 if
    /// there is none.
    done: u64,
}

impl OnConfirm for Acks {
    fn confirmed(&mut self, tag: u64) {
        self.done = tag;
    }

    fn pause(&mut self) {
        if self.done > 0 {
            acknowledge(&self.channel, self.done, true);
            self.done = 0;
        }
    }
}

/// Queues an acknowledgement: the first poll does so.
fn acknowledge(channel: &Channel, tag: u64, multiple: bool) {
    let _ = poll_once(std::pin::pin!(channel.basic_ack(tag, BasicAckOptions { multiple })));
}

/// Polls once without a waker: the future does what it can do at once.
fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut TaskContext::from_waker(Waker::noop()))
}

/// Awaits the confirms in the order of publishing, until all senders are dropped. Fails if the
/// broker rejects or returns a message.
async fn confirm_all(
    mut published: mpsc::UnboundedReceiver<(u64, Publishing)>,
    mut then: impl OnConfirm,
) -> Result<()> {
    let mut batch = Vec::with_capacity(1024);
    while published.recv_many(&mut batch, 1024).await > 0 {
        for (tag, mut publishing) in batch.drain(..) {
            let confirmation = match poll_once(publishing.as_mut()) {
                Poll::Ready(confirmation) => confirmation,
                Poll::Pending => {
                    then.pause();
                    publishing.await
                }
            };
            ensure!(
                matches!(confirmation?, Confirmation::Ack(None)),
                "the broker did not confirm a message"
            );
            then.confirmed(tag);
        }
        then.pause();
    }
    Ok(())
}
