//! The task behind a receiving half: consumes the queue, on a new channel whenever one is lost.
//!
//! The receiving half and the task share a bounded buffer. When the half stops, it hands the buffer
//! back to the task. The task cancels the consumer first and requeues the buffer second. In the
//! other order, the broker could send the requeued messages to the same consumer.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use polywire_core::health::EndpointReporter;
use polywire_core::transport::{Outcome, Settle};
use polywire_core::{Deadline, Error, ErrorKind, Result, Window};
use tokio::sync::{mpsc, oneshot};
use tokio::task::coop::consume_budget;

use crate::connection::backoff::ReconnectBackoff;
use crate::connection::channel_setup_guard::ChannelSetupGuard;
use crate::consuming::acker::ChannelAcker;
use crate::consuming::active_consumer::{ActiveConsumer, Lane, consume};
use crate::consuming::broker_refusal_timer::RefusalTimer;
use crate::consuming::buffered_delivery::{BufferedDelivery, FetchedReceiver};
use crate::consuming::consume_log::ConsumeLog;
use crate::consuming::consumed_queue::ConsumedQueue;
use crate::consuming::republisher::Republisher;
use crate::engine_error::is_refusal;
use crate::shared::AmqpShared;
use crate::topology::declare_queue::declare;

/// Consumer of one queue. Ends when its receiving half stops, when the broker refuses for good, or
/// when the transport closes.
pub(super) struct ConsumerTask<S> {
    /// Connections and settings.
    pub(super) shared: Arc<AmqpShared>,
    /// Queue, bindings and codec.
    pub(super) consumed: Arc<S>,
    /// Settlement, which gets each new channel.
    pub(super) acker: Arc<ChannelAcker>,
    /// Republishing of deliveries that are declined, uncounted or undecodable.
    pub(super) republisher: Arc<Republisher>,
    /// Unsettled deliveries allowed: the prefetch of the channel.
    pub(super) window: Window,
    /// Health of the handle.
    pub(super) health: EndpointReporter,
    /// End of the attempts at the first registration.
    pub(super) opening_limit: Deadline,
    /// Sending side of the buffer.
    pub(super) sender: mpsc::Sender<Result<BufferedDelivery>>,
}

/// Detail of an error that concerns the queue of suspects alone.
const LANE: &str = "lane";

/// Reason for which an active consumer ends.
enum End {
    /// The receiving half stopped. Carries the buffer, unless the half was dropped without it.
    Stopped(Option<FetchedReceiver>),
    /// The channel is lost, or the broker cancelled the consumer.
    Lost,
    /// The broker refuses the connection for messages for good: no reply and no copy of a delivery
    /// can be sent any more.
    Refused(Error),
}

impl<S: ConsumedQueue> ConsumerTask<S> {
    /// Consumes until stopped. Reports over `ready` the first registration, or its failure.
    ///
    /// A failure of the first registration ends the task, except a passing one: that is retried
    /// for half the connect timeout. Later failures are retried with growing
    /// pauses. A queue that the broker refuses for longer than `give_up_after` ends the task with
    /// an error for the receiver.
    pub(super) async fn run(
        self,
        ready: oneshot::Sender<Result<()>>,
        mut stopped: oneshot::Receiver<FetchedReceiver>,
    ) {
        let mut ready = Some(ready);
        let limit = self.opening_limit;
        let mut backoff = ReconnectBackoff::new();
        let mut missed = false;
        let mut refusals = RefusalTimer::new(self.shared.config.give_up_after);
        let mut log = ConsumeLog::new();
        let connection = &self.shared.consuming_connection;
        loop {
            let registered = tokio::select! {
                biased;
                // Waiting for a connection has no limit.
                _ = &mut stopped => return self.consumed.close(&self.shared).await,
                registered = self.register(&mut missed, &mut log, ready.is_none()) => registered,
            };
            match registered {
                Ok(mut active) => {
                    backoff.reset();
                    refusals.reset();
                    log.registered(&self.consumed.queue().name, active.suspects.is_some());
                    self.health.set_consuming(true);
                    if let Some(ready) = ready.take() {
                        // If the opening future was dropped, so was the receiving half, and
                        // `stopped` resolves.
                        let _ = ready.send(Ok(()));
                    }
                    match self.forward(&mut active, &mut missed, &mut stopped).await {
                        End::Stopped(buffer) => {
                            self.cancel(active, buffer).await;
                            return self.consumed.close(&self.shared).await;
                        }
                        End::Refused(refusal) => {
                            self.cancel(active, None).await;
                            return self.refuse(refusal, &mut stopped).await;
                        }
                        End::Lost => {
                            self.health.set_consuming(false);
                            let is_cancelled = active.channel.status().connected();
                            if connection.is_up() && !self.shared.tasks.is_closed() {
                                log.ended(&self.consumed.queue().name, is_cancelled);
                            }
                            // Otherwise the next channel takes the place of this one.
                            if is_cancelled {
                                self.republisher.wait_idle().await;
                            }
                            self.republisher.set_isolating(true);
                        }
                    }
                    tracing::debug!(queue = %self.consumed.queue().name, "the consumer's channel has ended");
                }
                Err(error) => match (ready.take(), connection.refusal()) {
                    (Some(waiting), None) if error.is_transient() && !limit.is_expired() => {
                        tracing::debug!(?error, "cannot begin to consume yet");
                        ready = Some(waiting);
                    }
                    (Some(ready), _) => {
                        // The opening future may have been dropped.
                        let _ = ready.send(Err(error));
                        return self.consumed.close(&self.shared).await;
                    }
                    (None, Some(refusal)) => {
                        return self.refuse(refusal, &mut stopped).await;
                    }
                    (None, None) if error.is_transient() => {
                        refusals.reset();
                        // This attempt was not refused, so an earlier refusal may be over.
                        self.health.set_consuming(false);
                        tracing::debug!(?error, "cannot consume yet");
                    }
                    // The user has lost the rights to the queue, or it has other options now.
                    (None, None) if refusals.has_expired(&error) => {
                        return self.refuse(error, &mut stopped).await;
                    }
                    (None, None) => {
                        if is_refusal(&error) {
                            self.health.refuse(error.clone());
                        }
                        log.refused(&self.consumed.queue().name, &error);
                    }
                },
            }
            connection.check_now();
            tokio::select! {
                () = backoff.wait() => {}
                _ = &mut stopped => return self.consumed.close(&self.shared).await,
            }
        }
    }

    /// Ends the receiver with the reason for which no more deliveries arrive.
    async fn refuse(&self, refusal: Error, stopped: &mut oneshot::Receiver<FetchedReceiver>) {
        self.health.fail(refusal.clone());
        self.send(Err(refusal.fatal()), stopped).await;
        self.consumed.close(&self.shared).await;
    }

    /// Registers a consumer on a new channel, without suspects if their queue cannot be used. Sets
    /// `missed` if the queue was lost in between.
    async fn register(
        &self,
        missed: &mut bool,
        log: &mut ConsumeLog,
        again: bool,
    ) -> Result<ActiveConsumer> {
        let connection = &self.shared.consuming_connection;
        match connection.unless_lost(self.register_once(missed, again)).await {
            Err(error) if error.detail(LANE).is_some() && !error.is_transient() => {
                log.not_isolated(&self.consumed.queue().name, &error);
                self.republisher.set_isolating(false);
                connection.unless_lost(self.register_once(missed, again)).await
            }
            registered => registered,
        }
    }

    /// Declares the queue, binds it, and registers its consumers on a new channel. `again` is unset
    /// for the first registration. Errors of the queue of suspects have the detail `LANE`.
    async fn register_once(&self, missed: &mut bool, again: bool) -> Result<ActiveConsumer> {
        let (queue, connection) = (self.consumed.queue(), &self.shared.consuming_connection);
        *missed |= again && S::REPORTS_LOSS && !queue.exists(&connection.channel().await?).await?;
        let setup = ChannelSetupGuard::new(connection.channel().await?);
        let channel = setup.channel();
        declare(connection, queue).await?;
        self.consumed.bind(connection, !again || *missed).await?;
        let of_suspects = |error: Error| error.with(LANE, "suspects");
        let suspects = self.republisher.suspects();
        if let Some(suspects) = suspects {
            declare(connection, suspects).await.map_err(of_suspects)?;
        }
        // First, since the broker may refuse it and close the channel. What it had delivered from
        // the other queue by then would come back as redelivered.
        let suspects = match suspects {
            Some(suspects) => Some(consume(channel, suspects, 1).await.map_err(of_suspects)?),
            None => None,
        };
        let window = u16::try_from(self.window.messages()).unwrap_or(u16::MAX);
        let consumer = consume(channel, queue, window).await?;
        let channel = Arc::new(setup.done());
        let generation = self.acker.set_channel(channel.clone());
        Ok(ActiveConsumer { channel, generation, consumer, suspects, turns: 0 })
    }

    /// Forwards deliveries to the receiving half.
    ///
    /// Returns the reason for the end. A stop comes before deliveries, and so does the loss of
    /// bindings.
    async fn forward(
        &self,
        active: &mut ActiveConsumer,
        missed: &mut bool,
        stopped: &mut oneshot::Receiver<FetchedReceiver>,
    ) -> End {
        if *missed {
            // One loss, and one error: the queue was lost with its bindings.
            let _ = self.consumed.bindings_lost().now_or_never();
            if let Some(end) = self.send(Err(self.missed()), stopped).await {
                return end;
            }
            *missed = false;
        }
        let refused = self.shared.publishing_connection.refused();
        tokio::pin!(refused);
        loop {
            // The engine's streams take no part in the budget, and not each delivery is sent on.
            consume_budget().await;
            let next = tokio::select! {
                biased;
                buffer = &mut *stopped => return End::Stopped(buffer.ok()),
                () = self.consumed.bindings_lost() => {
                    if let Some(end) = self.send(Err(self.missed()), stopped).await {
                        return end;
                    }
                    continue;
                }
                next = active.next() => next,
                refusal = &mut refused => return End::Refused(refusal),
            };
            // The stream must not be polled after its end.
            let Some((lane, raw)) = next else {
                // A cancelled consumer holds nothing any more: RabbitMQ 4.3 requeues the deliveries
                // of one that has held a delivery too long, and leaves its channel open. The queue
                // of one subscriber is the exception, since the broker cancels its consumer only
                // when it deletes the queue.
                if self.consumed.is_shared() || !active.channel.status().connected() {
                    self.acker.mark_lost(active.generation);
                }
                return End::Lost;
            };
            if self.consumed.takes_notice(&raw) {
                let tag = ChannelAcker::receipt_tag(active.generation, raw.delivery_tag);
                self.acker.settle(tag, Outcome::Ack);
                continue;
            }
            let is_redelivered = raw.redelivered;
            let item = match self.decode(active.generation, lane, raw) {
                // The receiving half answers it, which proves that the handle receives.
                Ok(fetched) if fetched.canary.is_some() => Ok(fetched),
                Ok(fetched) if self.republisher.has_declined(&fetched) => {
                    self.republisher.forward_declined(fetched);
                    continue;
                }
                Ok(fetched) if is_redelivered => match self.redeliver(lane, fetched) {
                    Some(fetched) => Ok(fetched),
                    None => continue,
                },
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
        error.with("queue", &self.consumed.queue().name)
    }

    /// Sends an item to the receiving half, or requeues it if that has stopped. Waits for room: a
    /// lost channel may have left deliveries in the buffer.
    ///
    /// Returns `None` once the item is in the buffer, and the end of the consumer otherwise.
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
        self.requeue(item);
        Some(End::Stopped(buffer))
    }

    /// Cancels the consumer, then requeues the buffer and what the broker had sent by then.
    ///
    /// Does nothing more if the channel is lost: the broker then requeues all of them.
    async fn cancel(&self, mut active: ActiveConsumer, buffer: Option<FetchedReceiver>) {
        if !active.cancel().await {
            return;
        }
        let mut buffer = buffer;
        while let Some(item) = buffer.as_mut().and_then(|buffer| buffer.try_recv().ok()) {
            self.requeue(item);
        }
        while let Some(Ok(raw)) = active.consumer.next().await {
            let tag = ChannelAcker::receipt_tag(active.generation, raw.delivery_tag);
            self.acker.release(tag);
        }
        let Some(suspects) = &mut active.suspects else { return };
        while let Some(Ok(raw)) = suspects.next().await {
            self.requeue(self.decode(active.generation, Lane::Suspects, raw));
        }
    }
}
