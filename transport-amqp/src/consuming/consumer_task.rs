//! The task behind a receiving half: consumes the queue, on a new channel whenever one is lost.
//!
//! The receiving half and the task share a bounded buffer. When the half stops, it hands the buffer
//! back to the task. The task cancels the consumer first and requeues the buffer second. In the
//! other order, the broker could send the requeued messages to the same consumer.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use lapin::Channel;
use lapin::message::Delivery as Raw;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use polywire_core::transport::{Outcome, Settle};
use polywire_core::{Address, Error, ErrorKind, Result, Window};
use tokio::sync::{mpsc, oneshot};

use crate::connection::backoff::Backoff;
use crate::connection::channel_guard::ChannelGuard;
use crate::consuming::acker::ChannelAcker;
use crate::consuming::buffered_delivery::{BufferedDelivery, FetchedReceiver};
use crate::consuming::consumer_source::ConsumerSource;
use crate::consuming::republisher::Republisher;
use crate::consuming::republishing_settle::dead_letter_undecodable;
use crate::consuming::requeue_mode::RequeueMode;
use crate::error::failed;
use crate::shared::Shared;
use crate::topology::declaration::declare;
use crate::wire::{Republish, native};

/// Consumer of one queue. Ends when its receiving half stops, when the broker refuses for good, or
/// when the transport closes.
pub(super) struct ConsumerTask<S> {
    /// Connections and settings.
    pub(super) shared: Arc<Shared>,
    /// Queue, bindings and codec.
    pub(super) source: Arc<S>,
    /// Settlement, which gets each new channel.
    pub(super) acker: Arc<ChannelAcker>,
    /// Republishing of deliveries that are declined, uncounted or undecodable.
    pub(super) redelivery: Arc<Republisher>,
    /// Unsettled deliveries allowed: the prefetch of the channel.
    pub(super) window: Window,
    /// Sending side of the buffer.
    pub(super) sender: mpsc::Sender<Result<BufferedDelivery>>,
}

/// A registered consumer on one channel.
struct ActiveConsumer {
    channel: Arc<Channel>,
    generation: u64,
    consumer: lapin::Consumer,
}

/// Reason for which an active consumer ends.
enum End {
    /// The receiving half stopped. Carries the buffer, unless the half was dropped without it.
    Stopped(Option<FetchedReceiver>),
    /// The channel is lost, or the broker cancelled the consumer.
    Lost,
}

impl<S: ConsumerSource> ConsumerTask<S> {
    /// Consumes until stopped. Reports over `ready` the first registration, or its failure.
    pub(super) async fn run(
        self,
        ready: oneshot::Sender<Result<()>>,
        mut stopped: oneshot::Receiver<FetchedReceiver>,
    ) {
        let mut ready = Some(ready);
        let mut backoff = Backoff::new();
        let mut missed = false;
        let connection = &self.shared.consuming_connection;
        loop {
            let registered = tokio::select! {
                biased;
                // Waiting for a connection has no limit.
                _ = &mut stopped => return self.source.close(&self.shared).await,
                registered = connection.unless_lost(self.register(&mut missed, ready.is_none())) => registered,
            };
            match registered {
                Ok(mut active) => {
                    backoff.reset();
                    if let Some(ready) = ready.take() {
                        // If the opening future was dropped, so was the receiving half, and
                        // `stopped` resolves.
                        let _ = ready.send(Ok(()));
                    }
                    if let End::Stopped(buffer) =
                        self.forward(&mut active, &mut missed, &mut stopped).await
                    {
                        self.cancel(active, buffer).await;
                        return self.source.close(&self.shared).await;
                    }
                    tracing::debug!(queue = %self.source.queue().name, "the consumer's channel has ended");
                }
                Err(error) => match ready.take() {
                    Some(ready) => {
                        // The opening future may have been dropped.
                        let _ = ready.send(Err(error));
                        return self.source.close(&self.shared).await;
                    }
                    // The receiver learns why no more deliveries arrive.
                    None if let Some(refusal) = connection.refusal() => {
                        self.send(Err(refusal), &mut stopped).await;
                        return self.source.close(&self.shared).await;
                    }
                    None if error.is_transient() => tracing::debug!(?error, "cannot consume yet"),
                    None => tracing::error!(?error, "cannot consume; retrying"),
                },
            }
            connection.check_now();
            tokio::select! {
                () = backoff.wait() => {}
                _ = &mut stopped => return self.source.close(&self.shared).await,
            }
        }
    }

    /// Registers a consumer on a new channel. Sets `missed` if the queue was lost in between.
    async fn register(&self, missed: &mut bool, again: bool) -> Result<ActiveConsumer> {
        let (queue, connection) = (self.source.queue(), &self.shared.consuming_connection);
        *missed |= again && S::REPORTS_LOSS && !queue.exists(&connection.channel().await?).await?;
        let setup = ChannelGuard::new(connection.channel().await?);
        let channel = setup.channel();
        declare(connection, queue).await?;
        self.source.bind(connection, !again || *missed).await?;
        let cannot = |error| failed("cannot consume the queue", error).with("queue", &queue.name);
        let window = u16::try_from(self.window.messages()).unwrap_or(u16::MAX);
        channel.basic_qos(window, BasicQosOptions::default()).await.map_err(cannot)?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer =
            channel.basic_consume(queue.name.clone(), "".into(), options, arguments).await;
        let consumer = consumer.map_err(cannot)?;
        let channel = Arc::new(setup.done());
        let generation = self.acker.set_channel(channel.clone());
        Ok(ActiveConsumer { channel, generation, consumer })
    }

    /// Forwards deliveries to the receiving half.
    async fn forward(
        &self,
        active: &mut ActiveConsumer,
        missed: &mut bool,
        stopped: &mut oneshot::Receiver<FetchedReceiver>,
    ) -> End {
        if *missed {
            // One loss, and one error: the queue was lost with its bindings.
            let _ = self.source.bindings_lost().now_or_never();
            if let Some(end) = self.send(Err(self.missed()), stopped).await {
                return end;
            }
            *missed = false;
        }
        loop {
            let next = tokio::select! {
                biased;
                buffer = &mut *stopped => return End::Stopped(buffer.ok()),
                () = self.source.bindings_lost() => {
                    if let Some(end) = self.send(Err(self.missed()), stopped).await {
                        return end;
                    }
                    continue;
                }
                next = active.consumer.next() => next,
            };
            // The stream must not be polled after its end.
            let Some(Ok(raw)) = next else {
                if !active.channel.status().connected() {
                    self.acker.mark_lost(active.generation);
                }
                return End::Lost;
            };
            if self.source.takes_notice(&raw) {
                let tag = ChannelAcker::receipt_tag(active.generation, raw.delivery_tag);
                self.acker.settle(tag, Outcome::Ack);
                continue;
            }
            let is_uncounted =
                raw.redelivered && self.source.requeue_mode() == RequeueMode::Counted;
            let item = match self.decode(active.generation, raw) {
                Ok(fetched) if self.redelivery.has_declined(&fetched) => {
                    self.redelivery.forward_declined(fetched);
                    continue;
                }
                Ok(fetched) if is_uncounted => {
                    self.redelivery.count_redelivery(fetched, self.sender.clone());
                    continue;
                }
                item => item,
            };
            if let Some(end) = self.send(item, stopped).await {
                return end;
            }
        }
    }

    /// Returns the error for a receiver whose queue or bindings were lost.
    fn missed(&self) -> Error {
        let error = Error::new(ErrorKind::Disconnected, "events may have been missed");
        error.with("queue", &self.source.queue().name)
    }

    /// Sends an item to the receiving half, or requeues it if that has stopped. Waits for room: a
    /// lost channel may have left deliveries in the buffer.
    async fn send(
        &self,
        item: Result<BufferedDelivery>,
        stopped: &mut oneshot::Receiver<FetchedReceiver>,
    ) -> Option<End> {
        let buffer = tokio::select! {
            biased;
            buffer = stopped => buffer.ok(),
            room = self.sender.reserve() => match room {
                Ok(room) => {
                    room.send(item);
                    return None;
                }
                Err(_) => None,
            },
        };
        self.requeue(&item);
        Some(End::Stopped(buffer))
    }

    /// Decodes a delivery. On failure, discards or dead-letters it.
    fn decode(&self, generation: u64, mut raw: Raw) -> Result<BufferedDelivery> {
        let tag = ChannelAcker::receipt_tag(generation, raw.delivery_tag);
        let attempt = native::attempt(&raw);
        let mode = self.source.requeue_mode();
        let decoded = self.source.decode(&mut raw, &self.shared.config.limits);
        match decoded.map_err(|error| error.with("queue", &self.source.queue().name)) {
            Ok(message) => {
                let properties = mode.may_republish().then(|| Box::new(raw.properties));
                Ok(BufferedDelivery { message, tag, attempt, properties })
            }
            // A redelivery would fail in the same way.
            Err(error) if !mode.dead_letters_undecodable() => {
                self.acker.settle(tag, Outcome::Discard);
                Err(error)
            }
            Err(error) => {
                let topic = Address::new(raw.routing_key.as_str())
                    .ok()
                    .filter(|_| !raw.exchange.as_str().is_empty());
                let (properties, body) = (raw.properties, raw.data.into());
                let copy = Republish {
                    history: None,
                    without_expiration: true,
                    ..Republish::new(properties, topic, body, attempt)
                };
                dead_letter_undecodable(&self.redelivery, tag, copy, &error);
                Err(error)
            }
        }
    }

    /// Requeues a delivery that the receiving half did not take. Undecodable ones are settled
    /// already.
    fn requeue(&self, item: &Result<BufferedDelivery>) {
        if let Ok(BufferedDelivery { tag, .. }) = item {
            self.acker.settle(*tag, Outcome::Requeue);
        }
    }

    /// Cancels the consumer, then requeues the buffer and what the broker had sent by then.
    async fn cancel(&self, mut active: ActiveConsumer, buffer: Option<FetchedReceiver>) {
        let cancelled =
            active.channel.basic_cancel(active.consumer.tag(), BasicCancelOptions::default()).await;
        if cancelled.is_err() {
            // The channel is lost, so the broker requeues its deliveries.
            return;
        }
        let mut buffer = buffer;
        while let Some(item) = buffer.as_mut().and_then(|buffer| buffer.try_recv().ok()) {
            self.requeue(&item);
        }
        while let Some(Ok(raw)) = active.consumer.next().await {
            let tag = ChannelAcker::receipt_tag(active.generation, raw.delivery_tag);
            self.acker.settle(tag, Outcome::Requeue);
        }
    }
}
