//! The task of a server that consumes the queue of batches.
//!
//! Batches are no part of the health of the server: without them, its calls arrive one by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery as Raw;
use lapin::options::BasicCancelOptions;
use lapin::{Channel, Consumer};
use polywire_core::message::ReplyTo;
use polywire_core::transport::{LogThrottle, Outcome, Settle};
use polywire_core::{Deadline, Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::connection::backoff::ReconnectBackoff;
use crate::connection::channel_setup_guard::ChannelSetupGuard;
use crate::consuming::acker::ChannelAcker;
use crate::consuming::active_consumer::consume;
use crate::consuming::batch_bounds::BatchBounds;
use crate::consuming::batch_settle::BatchSettle;
use crate::consuming::republisher::Republisher;
use crate::shared::AmqpShared;
use crate::topology::declare_queue::declare;
use crate::topology::queue_spec::QueueSpec;
use crate::wire::native::CallBatch;
use crate::wire::sent_at;

/// The batches that a server has received.
pub(super) type ReceivedBatches = mpsc::Receiver<Arc<BatchSettle>>;

/// The calls that a receiving half leaves when it stops.
pub(super) struct UnbegunCalls {
    /// The batch that was yielded last, and the index of its next call.
    pub(super) current: Option<(Arc<BatchSettle>, usize)>,
    pub(super) received: ReceivedBatches,
}

/// The number of calls that a server announces for batches; 0 for none. Its lane sets the number.
pub(crate) type AnnouncedCalls = Arc<AtomicUsize>;

/// Function that learns of each requester that sends batches, by the reply address of a call.
pub(crate) type OnBatchClient = Box<dyn Fn(&ReplyTo) + Send + Sync>;

/// Consumer of the queue of batches. Ends when its receiving half stops.
pub(super) struct BatchLane {
    pub(super) shared: Arc<AmqpShared>,
    /// The queue of batches.
    pub(super) queue: QueueSpec,
    /// Republishing for the queue of the service.
    pub(super) republisher: Arc<Republisher>,
    pub(super) acker: Arc<ChannelAcker>,
    pub(super) bounds: BatchBounds,
    pub(super) announced: AnnouncedCalls,
    pub(super) on_client: OnBatchClient,
    /// The number of batches that are not settled.
    pub(super) unsettled: Arc<AtomicUsize>,
    pub(super) sender: mpsc::Sender<Arc<BatchSettle>>,
    /// Throttle for the log line of batches that cannot be decoded.
    pub(super) undecoded: LogThrottle,
}

/// Reason for which the consumer of a channel ends.
enum End {
    /// The receiving half stopped.
    Stopped(Option<UnbegunCalls>),
    /// The channel is lost, or the broker cancelled the consumer.
    Lost,
}

impl BatchLane {
    /// Consumes until stopped, on a new channel whenever one is lost.
    pub(super) async fn run(self, mut stopped: oneshot::Receiver<UnbegunCalls>) {
        let mut backoff = ReconnectBackoff::new();
        let mut has_logged = false;
        let connection = &self.shared.consuming_connection;
        loop {
            let consuming = tokio::select! {
                biased;
                _ = &mut stopped => return,
                consuming = connection.unless_lost(self.consume()) => consuming,
            };
            match consuming {
                Ok((channel, generation, mut consumer)) => {
                    backoff.reset();
                    has_logged = false;
                    let end = self.forward(&channel, generation, &mut consumer, &mut stopped).await;
                    self.announced.store(0, Ordering::Relaxed);
                    match end {
                        End::Stopped(calls) => {
                            return self.cancel(&channel, generation, consumer, calls).await;
                        }
                        End::Lost => self.acker.mark_lost(generation),
                    }
                }
                Err(_) if connection.refusal().is_some() => return,
                Err(error) if error.is_transient() => {
                    tracing::debug!(?error, "cannot consume batches yet");
                }
                Err(error) => {
                    if !std::mem::replace(&mut has_logged, true) {
                        let queue = &self.queue.name;
                        tracing::warn!(?error, %queue, "cannot consume batches: calls arrive one by one");
                    }
                    backoff.slow_down();
                }
            }
            tokio::select! {
                () = backoff.wait() => {}
                _ = &mut stopped => return,
            }
        }
    }

    /// Declares and consumes the queue of batches on a new channel.
    async fn consume(&self) -> Result<(Arc<Channel>, u64, Consumer)> {
        let connection = &self.shared.consuming_connection;
        let setup = ChannelSetupGuard::new(connection.channel().await?);
        declare(connection, &self.queue).await?;
        let consumer = consume(setup.channel(), &self.queue, self.bounds.batches).await?;
        let channel = Arc::new(setup.done());
        let generation = self.acker.set_channel(channel.clone());
        Ok((channel, generation, consumer))
    }

    /// Forwards batches to the receiving half, and compares the consumers of both queues every two
    /// seconds.
    async fn forward(
        &self,
        channel: &Channel,
        generation: u64,
        consumer: &mut Consumer,
        stopped: &mut oneshot::Receiver<UnbegunCalls>,
    ) -> End {
        let mut comparing = interval_at(Instant::now(), COMPARE_EVERY);
        comparing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_full = false;
        loop {
            // The engine's streams take no part in the budget.
            consume_budget().await;
            let raw = tokio::select! {
                biased;
                calls = &mut *stopped => return End::Stopped(calls.ok()),
                _ = comparing.tick() => {
                    match self.compare(channel, &mut was_full).await {
                        Ok(()) => continue,
                        Err(error) => {
                            tracing::debug!(?error, "cannot count the servers of the queue");
                            return End::Lost;
                        }
                    }
                }
                raw = consumer.next() => raw,
            };
            let Some(Ok(raw)) = raw else { return End::Lost };
            let tag = ChannelAcker::receipt_tag(generation, raw.delivery_tag);
            let Some(batch) = self.accept(raw, tag) else { continue };
            let room = tokio::select! {
                biased;
                calls = &mut *stopped => {
                    batch.return_unbegun_from(0);
                    return End::Stopped(calls.ok());
                }
                // The prefetch bounds the batches, and the buffer has room for those of a lost
                // channel.
                room = self.sender.reserve() => room,
            };
            let Ok(room) = room else {
                batch.return_unbegun_from(0);
                return End::Stopped(None);
            };
            room.send(batch);
        }
    }

    /// Announces batches while each consumer of the queue of the service reads them, and batches
    /// are settled.
    async fn compare(&self, channel: &Channel, was_full: &mut bool) -> Result<()> {
        let readers = self.queue.consumer_count(channel).await?;
        let servers = self.republisher.queue.consumer_count(channel).await?;
        // One that is full each time has calls that last long.
        let unsettled = self.unsettled.load(Ordering::Relaxed);
        let is_full = unsettled >= usize::from(self.bounds.batches);
        let is_stuck = std::mem::replace(was_full, is_full) && is_full;
        let calls = if readers >= servers && !is_stuck { self.bounds.calls } else { 0 };
        let before = self.announced.swap(calls, Ordering::Relaxed);
        if before != calls {
            tracing::debug!(queue = %self.queue.name, readers, servers, is_stuck, calls, "batches of calls");
        }
        Ok(())
    }

    /// Decodes a batch. `None` if it is not run: because it is malformed, or was delivered before.
    fn accept(&self, raw: Raw, tag: u64) -> Option<Arc<BatchSettle>> {
        let is_redelivered = raw.redelivered;
        let sent = sent_at(&raw.properties);
        let shorten = |deadline: Deadline| self.shared.waiting_times.shortened(deadline, sent);
        let batch = match CallBatch::decode(raw, shorten) {
            Ok(batch) if batch.len() > 0 => batch,
            decoded => {
                if let Some(count) = self.undecoded.note() {
                    let error = decoded.err();
                    let queue = &self.queue.name;
                    tracing::warn!(?error, count, %queue, "dropped batches that cannot be decoded");
                }
                self.acker.settle(tag, Outcome::Ack);
                return None;
            }
        };
        if is_redelivered {
            self.return_to_client(&batch, tag);
            return None;
        }
        batch.first_address().iter().for_each(|address| (self.on_client)(address));
        let (acker, republisher) = (self.acker.clone(), self.republisher.clone());
        Some(Arc::new(BatchSettle::new(batch, acker, tag, republisher, self.unsettled.clone())))
    }

    /// Publishes a batch to the reply queue of its client, which sends the calls again that it
    /// waits for, then acknowledges the batch. Does nothing on a closing transport.
    fn return_to_client(&self, batch: &CallBatch, tag: u64) {
        let Some(message) = batch.to_client().filter(|_| !self.shared.tasks.is_closed()) else {
            return;
        };
        let (republisher, acker, deadline) =
            (self.republisher.clone(), self.acker.clone(), batch.deadline);
        self.republisher.spawn(async move {
            let sent = republisher.shared.publisher.publish(message).await;
            match sent {
                Err(error) if !is_final(&error, deadline) => {
                    tracing::debug!(?error, "cannot return a batch to its client; requeuing it");
                    ReconnectBackoff::new().wait().await;
                    acker.release(tag);
                }
                _ => acker.acknowledge_now(tag),
            }
        });
    }

    /// Cancels the consumer, then returns the calls that have not begun: by now, the consumer of
    /// single messages is most likely cancelled, too. If the channel is lost, the broker redelivers
    /// the batches.
    async fn cancel(
        &self,
        channel: &Channel,
        generation: u64,
        mut consumer: Consumer,
        calls: Option<UnbegunCalls>,
    ) {
        let cancelling = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        if cancelling.await.is_err() {
            return;
        }
        if let Some(UnbegunCalls { current, mut received }) = calls {
            if let Some((batch, next)) = current {
                batch.return_unbegun_from(next);
            }
            while let Ok(batch) = received.try_recv() {
                batch.return_unbegun_from(0);
            }
        }
        while let Some(Ok(raw)) = consumer.next().await {
            let tag = ChannelAcker::receipt_tag(generation, raw.delivery_tag);
            if let Some(batch) = self.accept(raw, tag) {
                batch.return_unbegun_from(0);
            }
        }
    }
}

/// Returns whether no caller waits for a batch any more: its client is gone, or it has expired.
fn is_final(error: &Error, deadline: Option<Deadline>) -> bool {
    let is_expired = deadline.is_some_and(Deadline::is_expired);
    error.is_unsent()
        && (error.kind() == ErrorKind::Unroutable
            || is_expired && error.kind() == ErrorKind::DeadlineExceeded)
}

/// Interval at which a server compares the consumers of both queues.
const COMPARE_EVERY: Duration = Duration::from_secs(2);
