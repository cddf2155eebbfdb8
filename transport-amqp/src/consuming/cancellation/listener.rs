//! The server's side of cancellations.

use std::sync::Arc;

use futures_util::StreamExt;
use lapin::message::Delivery as Raw;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Consumer};
use polywire_core::transport::Abandoned;
use polywire_core::{Address, Result};
use tokio::sync::{mpsc, oneshot};

use crate::connection::backoff::Backoff;
use crate::connection::channel_guard::ChannelGuard;
use crate::connection::supervised::SupervisedConnection;
use crate::error::failed;
use crate::tasks::Tasks;
use crate::unique_number::unique;
use crate::wire::native;

/// Starts to listen to the cancellations of `service`. Listening has begun, or failed for now, when
/// this returns; it ends when the receiver is dropped.
///
/// If the broker denies access to the exchange, a warning is logged, and the server works without
/// cancellations.
pub(crate) async fn listen(
    connection: &Arc<SupervisedConnection>,
    tasks: &Tasks,
    service: &Address,
) -> Result<mpsc::Receiver<Abandoned>> {
    let key = native::cancel_key(service)?;
    let reserved = connection.reserve_channel().map_err(|error| error.with("service", service))?;
    let (sender, receiver) = mpsc::channel(QUEUED_MAX);
    let (started, ready) = oneshot::channel();
    let listener = CancelListener { connection: connection.clone(), key, sender };
    let running = async move {
        let _reserved = reserved;
        listener.run(started).await;
    };
    tasks.add(tokio::spawn(running).abort_handle());
    // An error means that the transport was closed meanwhile, which the caller finds out by itself.
    let _ = ready.await;
    Ok(receiver)
}

/// Consumer of cancellations for one server.
struct CancelListener {
    /// Connection for the channel of the listener.
    connection: Arc<SupervisedConnection>,
    /// Routing key of the service's cancellations.
    key: ShortString,
    /// Buffer of the responder.
    sender: mpsc::Sender<Abandoned>,
}

impl CancelListener {
    /// Listens until the receiver is dropped or the broker refuses for good.
    async fn run(self, ready: oneshot::Sender<()>) {
        let sender = self.sender.clone();
        tokio::select! {
            () = sender.closed() => {}
            () = self.listen_until_refused(ready) => {}
        }
    }

    /// Listens again after each lost channel. Reports over `ready` the end of the first attempt,
    /// whether it succeeded or not.
    async fn listen_until_refused(self, ready: oneshot::Sender<()>) {
        let mut ready = Some(ready);
        let mut backoff = Backoff::new();
        loop {
            let consuming = self.connection.unless_lost(self.consume()).await;
            if let Some(ready) = ready.take() {
                // The opening future may have been dropped.
                let _ = ready.send(());
            }
            match consuming {
                Ok((channel, cancellations)) => {
                    backoff.reset();
                    self.forward(&channel, cancellations).await;
                }
                Err(_) if self.connection.refusal().is_some() => return,
                Err(error) if error.is_transient() => {
                    tracing::debug!(?error, "cannot listen to cancellations yet");
                }
                Err(error) => {
                    tracing::warn!(
                        ?error,
                        "cannot listen to cancellations: handlers run until their deadlines"
                    );
                    backoff.slow_down();
                }
            }
            backoff.wait().await;
        }
    }

    /// Declares a queue and consumes it. The queue is deleted with its consumer. Each attempt uses
    /// a new name: the broker keeps an exclusive queue until it notices that the connection is
    /// dead.
    async fn consume(&self) -> Result<(Channel, Consumer)> {
        let setup = ChannelGuard::new(self.connection.channel().await?);
        let channel = setup.channel();
        let name = ShortString::from(format!("polywire.control..{:032x}", unique()));
        let cannot = |error| failed("cannot listen to cancellations", error);
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        let mut bounds = FieldTable::default();
        bounds.insert("x-max-length".into(), AMQPValue::LongInt(QUEUED_MAX as i32));
        channel.queue_declare(name.clone(), options, bounds).await.map_err(cannot)?;
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        let exchange = native::CANCEL_EXCHANGE.into();
        let bound =
            channel.queue_bind(name.clone(), exchange, self.key.clone(), options, none).await;
        bound.map_err(cannot)?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.map_err(cannot)?;
        let (options, none) = (
            BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() },
            FieldTable::default(),
        );
        let consumer =
            channel.basic_consume(name, "".into(), options, none).await.map_err(cannot)?;
        Ok((setup.done(), consumer))
    }

    /// Forwards cancellations and acknowledges each, until the channel is lost or the receiver is
    /// dropped.
    async fn forward(&self, channel: &Channel, mut cancellations: Consumer) {
        while let Some(Ok(raw)) = cancellations.next().await {
            let (tag, abandoned) = (raw.delivery_tag, decode(&raw));
            if let Some(abandoned) = abandoned
                && self.sender.send(abandoned).await.is_err()
            {
                return;
            }
            if channel.basic_ack(tag, BasicAckOptions::default()).await.is_err() {
                return;
            }
        }
    }
}

/// Decodes the call that a cancellation names; `None` for any other message.
fn decode(raw: &Raw) -> Option<Abandoned> {
    let abandoned = native::decode_cancel(&raw.properties);
    if abandoned.is_none() {
        tracing::debug!("dropped a message that is not a cancellation");
    }
    abandoned
}

/// The most cancellations that wait in the queue at the broker, and in the server. The broker drops
/// further ones.
const QUEUED_MAX: usize = 1024;
/// Prefetch: cancellations that the broker sends before the first of them is acknowledged.
const PREFETCH: u16 = 64;
