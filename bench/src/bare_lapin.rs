//! The AMQP client alone, speaking the protocol that ours speaks: durable queues, persistent
//! requests, mandatory and confirmed both ways, each request acknowledged after its reply was
//! confirmed.
//!
//! In the fastest structure that was found: whoever publishes polls the future once under a lock,
//! which queues its frames in order, and one task then awaits the confirms in that order.

use std::collections::HashMap;
use std::io::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
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
use tokio::sync::{mpsc, oneshot};

use crate::load::Echo;

const REQUESTS: &str = "bench.requests";
const REPLIES: &str = "bench.replies";
const PREFETCH: u16 = 1024;

pub(crate) async fn serve(url: &str) -> Result<()> {
    let (publisher, channel, mut requests) = open(url, REQUESTS).await?;
    println!("{url}");
    std::io::stdout().flush()?;
    let acks = Acks { channel, done: 0 };
    let (confirms, confirmed) = mpsc::unbounded_channel();
    let confirming = tokio::spawn(confirm_all(confirmed, acks));
    while let Some(request) = requests.next().await {
        let request = request?;
        let id = request.properties.correlation_id().clone().context("a request has a number")?;
        let reply_to =
            request.properties.reply_to().clone().context("a request has a reply queue")?;
        let properties = BasicProperties::default().with_correlation_id(id).with_delivery_mode(2);
        let publishing = publisher.publish(reply_to, request.data, properties);
        confirms.send((request.delivery_tag, publishing)).ok().context("the confirms are taken")?;
    }
    confirming.abort();
    Ok(())
}

/// A caller: a number, a table, a wake-up, and a confirm that nobody waits for.
#[derive(Clone)]
pub(crate) struct Caller(Arc<Inner>);

struct Inner {
    publisher: Publisher,
    confirms: mpsc::UnboundedSender<(u64, Publishing)>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Vec<u8>>>>,
    last: AtomicU64,
    /// Closes the connection when it goes.
    _channel: Arc<Channel>,
}

impl Caller {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let (publisher, channel, replies) = open(url, REPLIES).await?;
        let (confirms, confirmed) = mpsc::unbounded_channel();
        tokio::spawn(confirm_all(confirmed, ()));
        let (waiting, last) = (Mutex::default(), AtomicU64::new(0));
        let inner =
            Arc::new(Inner { publisher, confirms, waiting, last, _channel: channel.clone() });
        tokio::spawn(inner.clone().read_all(replies, channel));
        Ok(Self(inner))
    }
}

impl Echo for Caller {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let id = self.0.last.fetch_add(1, Ordering::Relaxed);
        let (answer, reply) = oneshot::channel();
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, answer);
        let properties = BasicProperties::default()
            .with_correlation_id(id.to_string().into())
            .with_reply_to(REPLIES.into())
            .with_delivery_mode(2);
        let publishing = self.0.publisher.publish(REQUESTS.into(), body.to_vec(), properties);
        self.0.confirms.send((0, publishing)).ok().context("the confirms are taken")?;
        Ok(reply.await?.into())
    }
}

impl Inner {
    async fn read_all(self: Arc<Self>, mut replies: Consumer, channel: Arc<Channel>) -> Result<()> {
        while let Some(reply) = replies.next().await {
            let reply = reply?;
            acknowledge(&channel, reply.delivery_tag, false);
            let id: u64 = reply
                .properties
                .correlation_id()
                .as_ref()
                .context("a reply has a number")?
                .as_str()
                .parse()?;
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            if let Some(answer) = waiting {
                // A caller that is gone needs no reply.
                let _ = answer.send(reply.data);
            }
        }
        Ok(())
    }
}

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

async fn connect(url: &str) -> Result<Connection> {
    let mut uri: AMQPUri = url.parse().map_err(anyhow::Error::msg)?;
    uri.query.frame_max = Some(131_072);
    Ok(Connection::connect_uri(uri, ConnectionProperties::default()).await?)
}

type Publishing = Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>;

struct Publisher {
    channel: Arc<Channel>,
    /// Held over the first poll: without it, confirms go to the wrong message now and then.
    first_poll: Arc<Mutex<()>>,
}

impl Publisher {
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

/// What is done when a message is confirmed.
trait Confirmed: Send + 'static {
    fn confirmed(&mut self, tag: u64);
    fn pause(&mut self);
}

impl Confirmed for () {
    fn confirmed(&mut self, _: u64) {}
    fn pause(&mut self) {}
}

/// Acknowledges requests in the order they came, many at a time.
struct Acks {
    channel: Arc<Channel>,
    done: u64,
}

impl Confirmed for Acks {
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

/// Queues an acknowledgement, which the first poll does.
fn acknowledge(channel: &Channel, tag: u64, multiple: bool) {
    let _ = poll_once(std::pin::pin!(channel.basic_ack(tag, BasicAckOptions { multiple })));
}

/// Polls for nobody: whatever the future does at once is done.
fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut TaskContext::from_waker(Waker::noop()))
}

async fn confirm_all(
    mut published: mpsc::UnboundedReceiver<(u64, Publishing)>,
    mut then: impl Confirmed,
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
            ensure!(matches!(confirmation?, Confirmation::Ack(None)), "a message was not taken");
            then.confirmed(tag);
        }
        then.pause();
    }
    Ok(())
}
