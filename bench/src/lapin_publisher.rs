//! Publishing with the bare client of RabbitMQ: messages in order, each with a confirm, and
//! acknowledgements of many deliveries at once.
//!
//! The structure is the fastest one found: the publisher polls the future once under a lock, which
//! queues the frames in order; one task awaits the confirms in that order.
//!
//! Confirms are an extension of RabbitMQ: <https://www.rabbitmq.com/docs/confirms>.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

use anyhow::{Result, ensure};
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use tokio::sync::mpsc;

/// Unacknowledged deliveries that a consumer may hold, as of `basic.qos`.
pub(crate) const PREFETCH: u16 = 1024;

/// Opens a connection to publish on, with confirms.
///
/// The publisher has a connection of its own, so a broker that throttles publishing blocks no
/// acknowledgements.
pub(crate) async fn open_publisher(url: &str) -> Result<Publisher> {
    let channel = connect(url).await?.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(Publisher { channel: Arc::new(channel), first_poll: Arc::default() })
}

/// Opens a connection to consume on, and declares the queue: durable, and removed by the broker
/// after five minutes without use (`x-expires`).
pub(crate) async fn open_queue(url: &str, queue: &str) -> Result<Arc<Channel>> {
    let channel = Arc::new(connect(url).await?.create_channel().await?);
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-expires".into(), AMQPValue::LongInt(300_000));
    channel.queue_declare(queue.into(), durable, arguments).await?;
    Ok(channel)
}

/// Consumes from a queue, with at most `prefetch` unacknowledged deliveries.
///
/// RabbitMQ applies `basic.qos` to consumers that are started later:
/// <https://www.rabbitmq.com/docs/consumer-prefetch>.
pub(crate) async fn consume(channel: &Channel, queue: &str, prefetch: u16) -> Result<Consumer> {
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    Ok(channel.basic_consume(queue.into(), "".into(), options, arguments).await?)
}

/// Connects with frames of up to 128 KiB, the default of RabbitMQ.
pub(crate) async fn connect(url: &str) -> Result<Connection> {
    let mut uri: AMQPUri = url.parse().map_err(anyhow::Error::msg)?;
    uri.query.frame_max = Some(131_072);
    Ok(Connection::connect_uri(uri, ConnectionProperties::default()).await?)
}

/// A message that is sent, until the broker has confirmed it.
///
/// The output is `Ack(None)` if the broker has the message in a queue. A message without a queue is
/// returned, and the output has that message.
pub(crate) type Publishing = Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>;

/// A publisher on one channel, which any number of tasks share.
///
/// The lock is held for one poll of a future, and never across an await.
pub(crate) struct Publisher {
    channel: Arc<Channel>,
    /// Held during the first poll: without the lock, a confirm sometimes reaches another message.
    first_poll: Arc<Mutex<()>>,
}

impl Publisher {
    /// Queues a message, and returns the future of its confirm. The default exchange, whose name is
    /// empty, routes to the queue of the routing key, which has to exist (`mandatory`).
    ///
    /// Does not wait for the broker, only for other tasks at their first poll. An error that occurs
    /// at once is the output of the future.
    pub(crate) fn publish(
        &self,
        exchange: ShortString,
        routing_key: ShortString,
        body: Vec<u8>,
        properties: BasicProperties,
    ) -> Publishing {
        let channel = self.channel.clone();
        let mandatory = exchange.as_str().is_empty();
        let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
        let mut publishing: Publishing = Box::pin(async move {
            channel.basic_publish(exchange, routing_key, options, &body, properties).await?.await
        });
        let _first = self.first_poll.lock().unwrap_or_else(PoisonError::into_inner);
        match poll_once(publishing.as_mut()) {
            Poll::Ready(done) => Box::pin(std::future::ready(done)),
            Poll::Pending => publishing,
        }
    }
}

/// Handles the confirm of a message.
pub(crate) trait OnConfirm: Send + 'static {
    /// Handles the confirm of the message that belongs to the delivery `tag`. Confirms come in the
    /// order of publishing.
    fn confirmed(&mut self, tag: u64);
    /// Runs when no further confirm has arrived yet, and after each batch of up to 1,024 messages.
    fn pause(&mut self);
}

/// Does nothing: requests answer no delivery.
impl OnConfirm for () {
    fn confirmed(&mut self, _: u64) {}
    fn pause(&mut self) {}
}

/// Deliveries that one acknowledgement covers at most: a quarter of [`PREFETCH`], so that the
/// broker always has some to deliver.
const ACKS_MAX: u64 = 256;

/// Acknowledges deliveries in their order, many at a time.
///
/// A `basic.ack` with `multiple` acknowledges all deliveries of the channel up to its tag. So the
/// confirms must be handled in the order of the deliveries.
pub(crate) struct Acks {
    channel: Arc<Channel>,
    /// The largest delivery tag that is done, and not acknowledged yet; 0 if there is none.
    /// Delivery tags begin with 1.
    done: u64,
}

impl Acks {
    /// Creates acknowledgements for the deliveries of a channel.
    pub(crate) fn new(channel: Arc<Channel>) -> Self {
        Self { channel, done: 0 }
    }
}

impl OnConfirm for Acks {
    fn confirmed(&mut self, tag: u64) {
        self.done = tag;
        if tag.is_multiple_of(ACKS_MAX) {
            self.pause();
        }
    }

    fn pause(&mut self) {
        if self.done > 0 {
            acknowledge(&self.channel, self.done, true);
            self.done = 0;
        }
    }
}

/// Waits for the next delivery, and acknowledges those before it when none has arrived yet.
pub(crate) async fn next(
    consumer: &mut Consumer,
    acks: &mut Acks,
) -> Option<lapin::Result<Delivery>> {
    match consumer.next().now_or_never() {
        Some(delivery) => delivery,
        None => {
            acks.pause();
            consumer.next().await
        }
    }
}

/// Queues an acknowledgement: the first poll does so.
///
/// Never waits. The outcome is ignored.
fn acknowledge(channel: &Channel, tag: u64, multiple: bool) {
    let _ = poll_once(std::pin::pin!(channel.basic_ack(tag, BasicAckOptions { multiple })));
}

/// Polls once without a waker: the future does what it can do at once.
///
/// A pending future wakes no task, until a task awaits the future.
pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut TaskContext::from_waker(Waker::noop()))
}

/// Awaits the confirms in the order of publishing, until all senders are dropped. Fails if the
/// broker rejects or returns a message.
///
/// The number beside a message is the tag of the delivery that the message answers; 0 for a
/// request. A message that was confirmed early waits for those before it.
pub(crate) async fn confirm_all(
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
            is_confirmed(&confirmation?)?;
            then.confirmed(tag);
        }
        then.pause();
    }
    Ok(())
}

/// Fails if the broker has rejected or returned a message.
pub(crate) fn is_confirmed(confirmation: &Confirmation) -> Result<()> {
    ensure!(
        matches!(confirmation, Confirmation::Ack(None)),
        "the broker did not confirm a message"
    );
    Ok(())
}
