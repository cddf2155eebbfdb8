//! The queue of a subscriber, and its bindings to the exchange of a channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::Channel;
use lapin::message::Delivery as Raw;
use lapin::options::QueueBindOptions;
use lapin::types::{FieldTable, ShortString};
use polywire_core::health::EndpointRole;
use polywire_core::transport::LogThrottle;
use polywire_core::{Address, Filter, Limits, Message, Result};
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use crate::connection::backoff::pause;
use crate::connection::supervised_connection::SupervisedConnection;
use crate::consuming::consumed_queue::ConsumedQueue;
use crate::consuming::requeue_mode::RequeueMode;
use crate::engine_error::failed;
use crate::shared::AmqpShared;
use crate::topology::exchange_deletion_mark::ExchangeDeletionMark;
use crate::topology::filter_removal_mark::FilterRemovalMark;
use crate::topology::queue_spec::QueueSpec;
use crate::topology::{declare_exchange, lost_exchange_notice};
use crate::unique_number::unique;
use crate::wire::native;

/// The queue of a subscriber or of its group, bound to the exchange of a channel.
///
/// The consumer task, the task that checks the bindings, and the user's filters share the value.
/// Of the two locks, `reported` is taken before `filters`.
pub(super) struct EventQueue {
    name: Address,
    queue: QueueSpec,
    exchange: ShortString,
    /// Mark that is deleted together with the exchange.
    mark: ExchangeDeletionMark,
    /// Connection for notices to other subscribers.
    publishing: Arc<SupervisedConnection>,
    /// Locked across requests to the broker, so that the list and the broker's bindings agree. A
    /// filter may be removed while all filters are bound to a new queue.
    pub(super) filters: Mutex<Vec<Filter>>,
    /// Set for a subscriber without a group.
    is_private: bool,
    /// Mark of a group whose members have removed filters.
    removals: FilterRemovalMark,
    /// Counted for a group; by the broker without one.
    requeue_mode: RequeueMode,
    /// Set on close, after which filters cannot change.
    pub(super) is_closed: AtomicBool,
    /// Number of this subscriber, by which it knows its own notices.
    number: u128,
    /// Signal that another program has found the exchange missing.
    notice: Notify,
    /// Signal that `is_closed` was set.
    closed: Notify,
    /// Signal that the exchange was missing, and its bindings with it.
    lost: Notify,
    /// Locked while the exchange is looked for and declared, so that a loss is reported once. Holds
    /// the time of the latest report.
    reported: Mutex<Option<Instant>>,
    /// Set once the queue was bound first.
    is_open: AtomicBool,
    /// Set while the exchange is missing and not restored. Nothing can be published to it, so
    /// nothing is missed until another program declares it.
    is_missing: AtomicBool,
    /// Throttle for the log lines about that.
    missing_log: LogThrottle,
    /// Throttle for the log line of an exchange that is there again.
    restored_log: LogThrottle,
}

impl ConsumedQueue for EventQueue {
    const REPORTS_LOSS: bool = true;

    fn endpoint(&self) -> (EndpointRole, &Address) {
        (EndpointRole::Subscriber, &self.name)
    }

    fn queue(&self) -> &QueueSpec {
        &self.queue
    }

    async fn bind(&self, connection: &SupervisedConnection, is_new: bool) -> Result<()> {
        let mut reported = self.reported.lock().await;
        let existed = self.exists(connection).await?;
        // The bindings of a group are kept at the broker: other members may have changed them.
        if !self.is_private && !is_new && existed && !self.is_missing.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.restore_bindings(connection, existed, false).await {
            // The queue is consumed all the same. The bindings are checked at each interval.
            Err(error) if !existed && self.is_open() && !error.is_transient() => return Ok(()),
            restored => {
                let was_missing = restored?;
                if (!existed || was_missing) && !is_new {
                    *reported = Some(Instant::now());
                    self.lost.notify_one();
                }
            }
        }
        self.is_open.store(true, Ordering::Release);
        Ok(())
    }

    fn takes_notice(&self, raw: &Raw) -> bool {
        let Some(teller) = lost_exchange_notice::sender_number(raw, &self.exchange) else {
            return false;
        };
        if teller != self.number {
            self.notice.notify_one();
        }
        true
    }

    async fn bindings_lost(&self) {
        self.lost.notified().await;
    }

    fn decode(&self, raw: &mut Raw, limits: &Limits) -> Result<Message> {
        native::decode_event(raw, limits)
    }

    fn requeue_mode(&self) -> RequeueMode {
        self.requeue_mode
    }

    async fn close(&self, shared: &AmqpShared) {
        self.is_closed.store(true, Ordering::Release);
        self.closed.notify_waiters();
        if self.is_private {
            shared.delete_private_queue(&self.queue).await;
        }
    }
}

impl EventQueue {
    /// Creates the value for a queue that is neither declared nor bound yet.
    pub(super) fn new(
        name: Address,
        queue: QueueSpec,
        exchange: ShortString,
        filters: Vec<Filter>,
        requeue_mode: RequeueMode,
        publishing: Arc<SupervisedConnection>,
    ) -> Self {
        Self {
            name,
            removals: FilterRemovalMark::new(queue.name.clone()),
            queue,
            mark: ExchangeDeletionMark::new(exchange.clone()),
            publishing,
            exchange,
            filters: Mutex::new(filters),
            is_private: matches!(requeue_mode, RequeueMode::Broker),
            requeue_mode,
            is_closed: AtomicBool::new(false),
            number: unique(),
            notice: Notify::new(),
            closed: Notify::new(),
            lost: Notify::new(),
            reported: Mutex::default(),
            is_open: AtomicBool::new(false),
            is_missing: AtomicBool::new(false),
            missing_log: LogThrottle::new(),
            restored_log: LogThrottle::new(),
        }
    }

    /// Declares the exchange, and binds the queue for all filters.
    async fn declare_and_bind(&self, connection: &SupervisedConnection) -> Result<()> {
        declare_exchange::declare(connection, &self.exchange).await?;
        let listening = lost_exchange_notice::listen(connection, &self.queue.name, &self.exchange);
        if let Err(error) = listening.await {
            tracing::debug!(?error, queue = %self.queue.name, "cannot receive notices of a lost exchange");
        }
        let channel = connection.channel().await?;
        for filter in &*self.filters.lock().await {
            self.add_binding(&channel, filter).await?;
        }
        Ok(())
    }

    /// Checks the exchange at each interval, and whenever a publisher of the transport misses it,
    /// until the subscriber is closed.
    ///
    /// An interval lasts between half of the configured time and all of it. A failed check is
    /// repeated at the next interval.
    pub(super) async fn watch_bindings(self: Arc<Self>, shared: Arc<AmqpShared>) {
        let lost = &shared.events.exchange_lost;
        loop {
            // Before the flag is read, so that no notification is missed.
            let (closed, lost) = (self.closed.notified(), lost.notified());
            let mut is_notified = false;
            if self.is_closed.load(Ordering::Acquire) || shared.tasks.is_closed() {
                return;
            }
            tokio::select! {
                () = closed => return,
                () = lost => {}
                () = self.notice.notified() => is_notified = true,
                () = pause(shared.config.topology_check) => {}
            }
            let connection = &shared.consuming_connection;
            let checking = connection.unless_lost(self.check_bindings(connection, is_notified));
            if let Err(error) = shared.within_connect_timeout(checking).await {
                // The consumer binds again after a lost connection.
                tracing::debug!(?error, queue = %self.queue.name, "cannot check the bindings");
            }
        }
    }

    /// Notifies the other subscribers of the channel that the exchange was missing.
    async fn send_notice(&self) {
        if let Err(error) =
            lost_exchange_notice::send(&self.publishing, &self.exchange, self.number).await
        {
            tracing::debug!(
                ?error,
                exchange = %self.exchange,
                "cannot send the notice of a lost exchange"
            );
        }
    }

    /// Returns whether the exchange is there, and was not declared anew since a subscriber bound a
    /// queue to it.
    async fn exists(&self, connection: &SupervisedConnection) -> Result<bool> {
        let exists = declare_exchange::exists(connection, &self.exchange).await?;
        Ok(exists && self.mark.is_set(connection).await?)
    }

    /// Declares the exchange again with all bindings, if it is missing, or was missing by its mark
    /// or by a notice of another program. Otherwise adds single bindings again, since the broker
    /// cannot list them, unless a member of the group has removed one on purpose.
    async fn check_bindings(
        &self,
        connection: &SupervisedConnection,
        is_notified: bool,
    ) -> Result<()> {
        let mut reported = self.reported.lock().await;
        let existed = self.exists(connection).await?;
        let is_missing = self.is_missing.load(Ordering::Acquire);
        if existed && !is_notified && !is_missing && self.has_removals(connection).await? {
            return Ok(());
        }
        let was_missing = self.restore_bindings(connection, existed, is_notified).await?;
        // Another subscriber may send a notice about the loss that this one has found out itself.
        let is_known = reported.is_some_and(|at| at.elapsed() < SAME_LOSS);
        if !existed || was_missing || (is_notified && !is_known) {
            *reported = Some(Instant::now());
            self.lost.notify_one();
        }
        Ok(())
    }

    /// Declares the exchange with all bindings, and notifies the other subscribers if it did not
    /// exist. Returns whether it was missing before. Then another program has declared it, and may
    /// have published to it before the bindings were there.
    ///
    /// # Errors
    ///
    /// Those of declaring and binding. An exchange that did not exist counts as missing then.
    async fn restore_bindings(
        &self,
        connection: &SupervisedConnection,
        existed: bool,
        is_notified: bool,
    ) -> Result<bool> {
        let is_marked_first = match self.declare_and_bind(connection).await {
            // Only now: the mark says that queues are bound.
            Ok(()) if !existed || !self.is_open() => self.mark.set(connection).await,
            Ok(()) => Ok(true),
            Err(error) => Err(error),
        };
        if let Err(error) = &is_marked_first
            && !existed
            && self.is_open()
        {
            self.is_missing.store(true, Ordering::Release);
            if let Some(count) = self.missing_log.note() {
                tracing::warn!(?error, exchange = %self.exchange, count, "the exchange is missing, and cannot be declared");
            }
        }
        let is_marked_first = is_marked_first?;
        if !existed
            && self.is_open()
            && let Some(count) = self.restored_log.note()
        {
            tracing::warn!(exchange = %self.exchange, count, "the exchange was deleted; declared it again");
        }
        // Otherwise all have a notice, or get it from the one that has set the mark.
        if !existed && is_marked_first && !is_notified {
            self.send_notice().await;
        }
        Ok(self.is_missing.swap(false, Ordering::AcqRel))
    }

    /// Returns whether a member of the group has removed a filter.
    async fn has_removals(&self, connection: &SupervisedConnection) -> Result<bool> {
        Ok(!self.is_private && self.removals.is_set(connection).await?)
    }

    /// Notes the removal of a filter, before its binding is removed: a check of another member must
    /// not add the binding again.
    pub(super) async fn note_removal(&self, connection: &SupervisedConnection) -> Result<()> {
        if self.is_private { Ok(()) } else { self.removals.set(connection).await }
    }

    /// Returns whether the queue was bound once. Before that, a missing exchange is no loss.
    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Binds the queue for a filter. Repeating a binding has no effect.
    pub(super) async fn add_binding(&self, channel: &Channel, filter: &Filter) -> Result<()> {
        let (queue, exchange, key) =
            (self.queue.name.clone(), self.exchange.clone(), binding_key(filter));
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let bound = channel.queue_bind(queue, exchange, key, options, arguments).await;
        bound.map_err(|error| failed("cannot add the filter", &error).with("filter", filter))
    }

    /// Removes the binding of a filter. A missing binding is no error.
    pub(super) async fn remove_binding(&self, channel: &Channel, filter: &Filter) -> Result<()> {
        let (queue, exchange, key) =
            (self.queue.name.clone(), self.exchange.clone(), binding_key(filter));
        let unbound = channel.queue_unbind(queue, exchange, key, FieldTable::default()).await;
        unbound.map_err(|error| failed("cannot remove the filter", &error).with("filter", filter))
    }
}

/// The time in which a notice is about the loss that was reported last.
const SAME_LOSS: Duration = Duration::from_secs(1);

/// Returns the binding key of a filter: a topic exchange gives `*` and `#` the same meaning.
fn binding_key(filter: &Filter) -> ShortString {
    // Filters are shorter than the 255 bytes of a short string.
    filter.as_str().into()
}
