//! Republishes retried and dead-lettered deliveries: confirms the copy, then acknowledges the
//! original.
//!
//! In this order, a lost connection may leave two messages and never none. If the copy cannot be
//! published, the broker requeues the original, so no outcome of a handler loses a message. The
//! only exception to the order is a closing transport: it requeues at once, without a copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::transport::Settled;
use polywire_core::{Deadline, Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::connection::backoff::{PAUSE_MAX, pause};
use crate::consuming::acker::ChannelAcker;
use crate::consuming::buffered_delivery::BufferedDelivery;
use crate::consuming::pending_republishes::{PendingRepublishes, REPUBLISH_MAX};
use crate::consuming::republish_log::RepublishLog;
use crate::consuming::requeue_mode::RequeueMode;
use crate::shared::AmqpShared;
use crate::topology::queue_spec::QueueSpec;
use crate::unique_number::unique;
use crate::wire::{Republish, native};

/// Everything that the deliveries of one consumer need to be republished.
pub(super) struct Republisher {
    /// Publisher, connections and the cache of declared queues.
    pub(super) shared: Arc<AmqpShared>,
    /// Settlement of the originals.
    pub(super) acker: Arc<ChannelAcker>,
    /// Queue of the originals.
    pub(super) queue: QueueSpec,
    /// Way for an original to return to its queue, as the options of the queue say.
    requeue_mode: RequeueMode,
    /// Set once the queue turned out to count no deliveries, although the options say so.
    counts_nothing: AtomicBool,
    /// Queue of the suspects, unless the queue of the originals has none.
    suspects: Option<QueueSpec>,
    /// Set while that queue can be used.
    is_isolating: AtomicBool,
    /// The copies of this consumer that are under way.
    pending: PendingRepublishes,
    /// Name of this consumer in the list of servers that have declined a request.
    pub(super) consumer_name: String,
    /// Log of what cannot be republished.
    pub(super) log: RepublishLog,
    /// Runtime for the copies, since a receipt may be settled outside of any runtime.
    runtime: Handle,
}

/// Destination of a copy.
#[derive(Clone, Copy)]
pub(super) enum RepublishTarget {
    /// The end of the original queue.
    Origin,
    /// The queue of suspects.
    Suspects,
    /// A retry queue, which moves the copy to the original queue after the delay.
    Retry(Duration),
    /// The dead-letter queue.
    DeadLetters,
}

impl Republisher {
    /// Creates the state for deliveries from `queue`. Panics outside of a runtime.
    pub(super) fn new(
        shared: Arc<AmqpShared>,
        acker: Arc<ChannelAcker>,
        queue: QueueSpec,
        suspects: Option<QueueSpec>,
        requeue_mode: RequeueMode,
    ) -> Arc<Self> {
        let consumer_name = format!("{:x}", unique() >> 64);
        let (runtime, log) = (Handle::current(), RepublishLog::new(queue.name.clone()));
        Arc::new(Self {
            shared,
            acker,
            queue,
            requeue_mode,
            counts_nothing: AtomicBool::new(false),
            suspects,
            is_isolating: AtomicBool::new(true),
            pending: PendingRepublishes::default(),
            consumer_name,
            log,
            runtime,
        })
    }

    /// Returns the way for deliveries to return to the queue. `is_counted` says whether the broker
    /// has counted a redelivery.
    ///
    /// A passive queue that is said to be a quorum queue may be a classic one, which counts
    /// nothing: its attempts would be 2 without end. So the first redelivery decides.
    pub(super) fn requeue_mode(&self, is_counted: bool) -> RequeueMode {
        let mode = self.current_requeue_mode();
        if mode == RequeueMode::BrokerCounts && !is_counted {
            self.counts_nothing.store(true, Ordering::Release);
            tracing::warn!(queue = %self.queue.name, "the queue is no quorum queue, as its options say; counting its redeliveries");
            return RequeueMode::Counted;
        }
        mode
    }

    /// Returns the way for deliveries to return to the queue, as far as is known.
    pub(super) fn current_requeue_mode(&self) -> RequeueMode {
        match self.requeue_mode {
            RequeueMode::BrokerCounts if self.counts_nothing.load(Ordering::Acquire) => {
                RequeueMode::Counted
            }
            mode => mode,
        }
    }

    /// Returns the queue of the suspects, if they are isolated.
    pub(super) fn suspects(&self) -> Option<&QueueSpec> {
        self.suspects.as_ref().filter(|_| self.is_isolating.load(Ordering::Acquire))
    }

    /// Sets whether suspects are isolated, as far as they have a queue.
    pub(super) fn set_isolating(&self, is_isolating: bool) {
        self.is_isolating.store(is_isolating, Ordering::Release);
    }

    /// Waits until no copy of this consumer is under way, for up to two seconds. The channel of the
    /// originals has to stay open until then: otherwise the broker would redeliver them beside
    /// their copies.
    pub(super) async fn wait_idle(&self) {
        if timeout(REPUBLISH_MAX, self.pending.wait_idle()).await.is_err() {
            self.log.held_twice();
        }
    }

    /// Republishes a redelivered message with its count. A classic queue sets the same flag on each
    /// redelivery, so only the copy carries the count. The copy goes to the end of the queue. If
    /// publishing fails, the uncounted delivery goes to `sender`.
    pub(super) fn count_redelivery(
        self: &Arc<Self>,
        mut fetched: BufferedDelivery,
        sender: mpsc::Sender<Result<BufferedDelivery>>,
    ) {
        let Some(copy) = fetched.republish() else { return };
        let (republisher, tag) = (self.clone(), fetched.tag);
        self.spawn(async move {
            match republisher.republish(RepublishTarget::Origin, copy).await {
                Ok(()) => republisher.acker.acknowledge_now(tag),
                Err(error) => {
                    tracing::debug!(?error, queue = %republisher.queue.name, "cannot count a redelivery");
                    if sender.send(Ok(fetched)).await.is_err() {
                        republisher.acker.release(tag);
                    }
                }
            }
        });
    }

    /// Moves a delivery to the queue of suspects, then acknowledges the original.
    pub(super) fn isolate(self: &Arc<Self>, mut fetched: BufferedDelivery) {
        let tag = fetched.tag;
        let Some(copy) = fetched.take_republish() else { return };
        let (republisher, attempts) = (self.clone(), copy.attempts_made());
        self.spawn(async move {
            let target = RepublishTarget::Suspects;
            republisher.republish_and_settle(target, copy, attempts, tag).await;
        });
    }

    /// Spawns a task that ends with settling a delivery. The tasks are bounded by the window, since
    /// no delivery is settled before its task ends. Each ends with the confirm, or its timeout.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let guards = (self.shared.republishing.begin(), self.pending.begin());
        drop(self.runtime.spawn(async move {
            let _guards = guards;
            task.await;
        }));
    }

    /// Republishes a delivery and acknowledges the original. If publishing fails, requeues the
    /// original. If the outcome of publishing is unknown, there may be two messages: better than
    /// none.
    ///
    /// A delivery that cannot wait for its retry for a lasting reason is dead-lettered, and so is
    /// one of which the broker takes no copy at all. If it takes no dead letter either, the
    /// delivery is discarded. `attempts` have been made: the copy may have the number of the next
    /// one.
    pub(super) async fn republish_and_settle(
        self: Arc<Self>,
        target: RepublishTarget,
        copy: Republish,
        attempts: u32,
        tag: u64,
    ) -> Settled {
        // Its deadline has passed, which core notices when it is redelivered.
        let is_expired_call =
            copy.deadline.is_some_and(Deadline::is_expired) && copy.properties.reply_to().is_some();
        if matches!(target, RepublishTarget::DeadLetters) {
            return self.keep_dead_letter(copy, tag).await;
        }
        let error = match self.republish(target, copy.clone()).await {
            Ok(()) => {
                self.acker.acknowledge_now(tag);
                return Settled::Done;
            }
            Err(error) => error,
        };
        match target {
            RepublishTarget::Suspects if is_expired_call => {}
            // Each further attempt would fail in the same way.
            _ if is_final(&error) => {
                self.log.uncopied(&copy, attempts, &error);
                return self.dead_letter_unkeepable(copy, tag, attempts, &error).await;
            }
            RepublishTarget::Origin => {
                let queue = &self.queue.name;
                tracing::debug!(?error, %queue, "requeued without the count of attempts");
            }
            RepublishTarget::Retry(_) if is_lasting(&error) => {
                self.log.unkept(&copy, attempts, &error);
                return self.dead_letter_unkeepable(copy, tag, attempts, &error).await;
            }
            _ => self.pause_before_retry(&copy, attempts, &error).await,
        }
        self.acker.release(tag);
        Settled::Requeued
    }

    /// Logs a delivery that cannot be kept elsewhere, and waits: the next attempt follows, or a
    /// requeue, which would redeliver in a tight loop without a pause. Only an operator can remove
    /// a lasting reason.
    pub(super) async fn pause_before_retry(&self, copy: &Republish, attempts: u32, error: &Error) {
        let is_lasting = is_lasting(error);
        let limit = if is_lasting { LASTING_PAUSE } else { PAUSE_MAX };
        self.log.unpublished(copy, attempts, error, (is_lasting, limit.as_secs()));
        let _paused = (self.shared.republishing.pause(), self.pending.pause());
        tokio::select! {
            () = pause(limit) => {}
            () = self.shared.tasks.closed() => {}
        }
    }

    /// Publishes a copy and waits for its confirm.
    pub(super) async fn republish(&self, target: RepublishTarget, copy: Republish) -> Result<()> {
        if let (RepublishTarget::Suspects, Some(queue)) = (target, self.suspects()) {
            return self.publish_to_declared(queue, copy).await;
        }
        let copy = Republish { crashes: None, ..copy };
        match target {
            RepublishTarget::Origin | RepublishTarget::Suspects => {
                self.publish(&self.queue.name, copy).await
            }
            RepublishTarget::Retry(delay) => {
                let queue = self.queue.retry_queue(delay, self.shared.config.retry_queue_expiry)?;
                let used = &self.shared.declared_queues.used_retry_queues;
                used.note(&self.queue.name, &queue, delay);
                let copy = Republish { delay, ..copy.without_expiration() };
                self.publish_to_declared(&queue, copy).await
            }
            RepublishTarget::DeadLetters => {
                let queue = self.queue.dead_letter_queue()?;
                self.publish_to_declared(&queue, copy.without_expiration()).await
            }
        }
    }

    /// Declares the queue, unless that happened a short time ago, and publishes to it.
    ///
    /// A quorum queue that another program declares at the same moment exists before it works, and
    /// its broker rejects messages for some milliseconds. So a rejected message is published again
    /// a few times.
    async fn publish_to_declared(&self, queue: &QueueSpec, copy: Republish) -> Result<()> {
        self.declare(queue).await?;
        let mut published = self.publish(&queue.name, copy.clone()).await;
        if published.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unroutable) {
            self.shared.declared_queues.forget(queue).await;
            self.declare(queue).await?;
            published = self.publish(&queue.name, copy.clone()).await;
        }
        for pause in REJECTED_PAUSES {
            if !published.as_ref().is_err_and(|error| error.kind() == ErrorKind::Rejected) {
                break;
            }
            sleep(pause).await;
            published = self.publish(&queue.name, copy.clone()).await;
        }
        published
    }

    /// Declares a queue over the consuming connection, unless that happened recently.
    async fn declare(&self, queue: &QueueSpec) -> Result<()> {
        let AmqpShared { declared_queues, consuming_connection, .. } = &*self.shared;
        // The broker blocks the publishing connection under an alarm, and not this one.
        let declaring = declared_queues.ensure(consuming_connection, queue);
        self.shared.within_connect_timeout(declaring).await
    }

    /// Publishes a copy to a queue that exists, and waits for the confirm.
    async fn publish(&self, queue: &ShortString, copy: Republish) -> Result<()> {
        // In a retry queue, the message may expire only after the broker has moved it.
        let message = native::encode_republished(queue, &self.queue.name, copy)?;
        self.shared.publisher.publish(message).await
    }
}

/// Returns whether an error stays until the names or the broker are changed.
pub(super) fn is_lasting(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::TooLarge | ErrorKind::Config | ErrorKind::Denied)
}

/// Returns whether the broker takes no copy of the message, however often that is tried.
pub(super) fn is_final(error: &Error) -> bool {
    error.kind() == ErrorKind::TooLarge
}

/// Pauses before a rejected copy is published again: 20, 100 and 400 ms.
const REJECTED_PAUSES: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(400)];
/// Longest pause before a delivery is requeued that cannot be kept elsewhere for a lasting reason.
const LASTING_PAUSE: Duration = Duration::from_secs(30);
