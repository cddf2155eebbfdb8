//! The subscriber of a channel.
//!
//! A subscriber has a queue that is bound to the channel's topic exchange, with one binding per
//! filter. The members of a group share a queue, so its bindings belong to the group: a new
//! member adds its filters, and a member that reconnects restores them only if the queue was lost.
//! A subscriber without a group binds its own queue again on each new channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lapin::Channel;
use lapin::message::Delivery as Raw;
use lapin::options::QueueBindOptions;
use lapin::types::{FieldTable, ShortString};
use polywire_core::health::EndpointRole;
use polywire_core::transport::{FilterControl, Filters, Receiver, Subscription, async_trait};
use polywire_core::{Address, Error, ErrorKind, Filter, Limits, Message, Result};
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

use crate::connection::backoff::{PAUSE_MIN, pause};
use crate::connection::supervised::SupervisedConnection;
use crate::consuming::consumer;
use crate::consuming::consumer_source::ConsumerSource;
use crate::consuming::requeue_mode::RequeueMode;
use crate::error::failed;
use crate::shared::Shared;
use crate::topology::event_queues;
use crate::topology::exchange;
use crate::topology::lost_exchange;
use crate::topology::queue::QueueSpec;
use crate::unique_number::unique;
use crate::wire::native;

/// Opens a subscriber of `channel`. Each event that is published after this returns is received.
///
/// # Errors
///
/// Those of declaring, binding and consuming the queue. Dropping the future stops the consumer and
/// deletes the queue, unless it is the queue of a group.
pub(crate) async fn open(
    shared: &Arc<Shared>,
    channel: &Address,
    subscription: Subscription,
) -> Result<(Receiver, Filters)> {
    let Subscription { filters, group, window, .. } = subscription;
    let queue = match &group {
        Some(group) => {
            let queue = event_queues::of_group(&shared.config.queues, channel, group)?;
            queue.check_names()?;
            queue
        }
        None => event_queues::own(channel)?,
    };
    let requeue_mode = match &group {
        Some(_) => RequeueMode::counting(&queue.options),
        None => RequeueMode::Broker,
    };
    let (exchange, filters) = (native::event_exchange(channel)?, Mutex::new(filters));
    let is_private = group.is_none();
    if is_private {
        // Deleted by `close` of the source, also if opening fails or is dropped.
        shared.add_private_queue(&queue);
    }
    let source = Arc::new(EventSource {
        name: channel.clone(),
        queue,
        exchange,
        filters,
        is_private,
        requeue_mode,
        is_closed: AtomicBool::new(false),
        number: unique(),
        told: Notify::new(),
        closed: Notify::new(),
        lost: Notify::new(),
        binding: Mutex::default(),
    });
    let receiver = consumer::open(shared, source.clone(), window).await?;
    let watching = tokio::spawn(source.clone().watch_bindings(shared.clone()));
    shared.tasks.add(watching.abort_handle());
    Ok((receiver, Filters::new(Bindings { shared: shared.clone(), source })))
}

/// The queue of a subscriber or of its group, bound to the exchange of a channel.
struct EventSource {
    name: Address,
    queue: QueueSpec,
    exchange: ShortString,
    /// Locked across requests to the broker, so that the list and the broker's bindings agree. A
    /// filter may be removed while all filters are bound to a new queue.
    filters: Mutex<Vec<Filter>>,
    /// Set for a subscriber without a group.
    is_private: bool,
    /// Counted for a group; by the broker without one.
    requeue_mode: RequeueMode,
    /// Set on close, after which filters cannot change.
    is_closed: AtomicBool,
    /// Number of this subscriber, by which it knows its own notices.
    number: u128,
    /// Signal that another program has found the exchange missing.
    told: Notify,
    /// Signal that `is_closed` was set.
    closed: Notify,
    /// Signal that the exchange was missing, and its bindings with it.
    lost: Notify,
    /// Locked while the exchange is looked for and declared, so that a loss is reported once.
    binding: Mutex<()>,
}

impl ConsumerSource for EventSource {
    const REPORTS_LOSS: bool = true;

    fn endpoint(&self) -> (EndpointRole, &Address) {
        (EndpointRole::Subscriber, &self.name)
    }

    fn queue(&self) -> &QueueSpec {
        &self.queue
    }

    async fn bind(&self, connection: &SupervisedConnection, is_new: bool) -> Result<()> {
        let _binding = self.binding.lock().await;
        let existed = exchange::exists(connection, &self.exchange).await?;
        // The bindings of a group are kept at the broker: other members may have changed them.
        if !self.is_private && !is_new && existed {
            return Ok(());
        }
        self.declare_and_bind(connection).await?;
        if !existed {
            self.tell(connection).await;
        }
        if !existed && !is_new {
            self.lost.notify_one();
        }
        Ok(())
    }

    fn takes_notice(&self, raw: &Raw) -> bool {
        let Some(teller) = lost_exchange::teller(raw, &self.exchange) else { return false };
        if teller != self.number {
            self.told.notify_one();
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

    async fn close(&self, shared: &Shared) {
        self.is_closed.store(true, Ordering::Release);
        self.closed.notify_waiters();
        if self.is_private {
            shared.delete_private_queue(&self.queue).await;
        }
    }
}

impl EventSource {
    /// Declares the exchange, and binds the queue for all filters.
    async fn declare_and_bind(&self, connection: &SupervisedConnection) -> Result<()> {
        exchange::declare(connection, &self.exchange).await?;
        let listening = lost_exchange::listen(connection, &self.queue.name, &self.exchange);
        if let Err(error) = listening.await {
            tracing::debug!(?error, queue = %self.queue.name, "no notices about a lost exchange");
        }
        let channel = connection.channel().await?;
        for filter in &*self.filters.lock().await {
            self.add_binding(&channel, filter).await?;
        }
        Ok(())
    }

    /// Checks the exchange at each interval, and whenever a publisher of the transport misses it,
    /// until the subscriber is closed.
    async fn watch_bindings(self: Arc<Self>, shared: Arc<Shared>) {
        let lost = &shared.events.exchange_lost;
        loop {
            // Before the flag is read, so that no notification is missed.
            let (closed, lost) = (self.closed.notified(), lost.notified());
            let mut is_told = false;
            if self.is_closed.load(Ordering::Acquire) || shared.tasks.is_closed() {
                return;
            }
            tokio::select! {
                () = closed => return,
                () = lost => {}
                () = self.told.notified() => is_told = true,
                () = pause(shared.config.topology_check) => {}
            }
            let connection = &shared.consuming_connection;
            let checking = connection.unless_lost(self.check_bindings(connection, is_told));
            if let Err(error) = shared.within_connect_timeout(checking).await {
                // The consumer binds again after a lost connection.
                tracing::debug!(?error, queue = %self.queue.name, "cannot check the bindings");
            }
        }
    }

    /// Tells the other subscribers of the channel that the exchange was missing.
    async fn tell(&self, connection: &SupervisedConnection) {
        if let Err(error) = lost_exchange::tell(connection, &self.exchange, self.number).await {
            tracing::debug!(?error, exchange = %self.exchange, "cannot tell of a lost exchange");
        }
    }

    /// Declares the exchange again if it is missing, with all bindings, also if another program has
    /// told so. Adds the bindings of a
    /// subscriber without a group again in any case: the broker does not say which it has.
    async fn check_bindings(&self, connection: &SupervisedConnection, is_told: bool) -> Result<()> {
        let _binding = self.binding.lock().await;
        let existed = exchange::exists(connection, &self.exchange).await?;
        if existed && !is_told && !self.is_private {
            return Ok(());
        }
        self.declare_and_bind(connection).await?;
        if !existed {
            tracing::warn!(exchange = %self.exchange, "the exchange was deleted; declared it again");
            self.tell(connection).await;
        }
        if !existed || is_told {
            self.lost.notify_one();
        }
        Ok(())
    }

    /// Binds the queue for a filter. Repeating a binding has no effect.
    async fn add_binding(&self, channel: &Channel, filter: &Filter) -> Result<()> {
        let (queue, exchange, key) =
            (self.queue.name.clone(), self.exchange.clone(), binding_key(filter));
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let bound = channel.queue_bind(queue, exchange, key, options, arguments).await;
        bound.map_err(|error| failed("cannot add the filter", error).with("filter", filter))
    }

    /// Removes the binding of a filter. A missing binding is no error.
    async fn remove_binding(&self, channel: &Channel, filter: &Filter) -> Result<()> {
        let (queue, exchange, key) =
            (self.queue.name.clone(), self.exchange.clone(), binding_key(filter));
        let unbound = channel.queue_unbind(queue, exchange, key, FieldTable::default()).await;
        unbound.map_err(|error| failed("cannot remove the filter", error).with("filter", filter))
    }
}

/// Returns the binding key of a filter: a topic exchange gives `*` and `#` the same meaning.
fn binding_key(filter: &Filter) -> ShortString {
    // Filters are shorter than the 255 bytes of a short string.
    filter.as_str().into()
}

/// Filters of an open subscriber, as bindings at the broker.
struct Bindings {
    shared: Arc<Shared>,
    source: Arc<EventSource>,
}

/// A change to the filters of a subscriber.
#[derive(Clone, Copy)]
enum FilterChange {
    Add,
    Remove,
}

#[async_trait]
impl FilterControl for Bindings {
    async fn add(&self, filter: Filter) -> Result<()> {
        self.change(FilterChange::Add, filter).await
    }

    async fn remove(&self, filter: Filter) -> Result<()> {
        self.change(FilterChange::Remove, filter).await
    }
}

impl Bindings {
    /// Applies a change within the connect timeout. If the future is dropped, the change may or may
    /// not have been applied.
    async fn change(&self, change: FilterChange, filter: Filter) -> Result<()> {
        let limit = self.shared.config.connect_timeout;
        timeout(limit, self.apply_with_retries(change, &filter)).await.unwrap_or_else(|_| {
            let error = Error::new(
                ErrorKind::Disconnected,
                "cannot change the filters: the broker did not answer within the connect timeout",
            );
            Err(error.with("filter", &filter))
        })
    }

    /// Applies a change, and retries while the connection is lost or the queue is missing.
    async fn apply_with_retries(&self, change: FilterChange, filter: &Filter) -> Result<()> {
        loop {
            self.shared.tasks.check_open()?;
            if self.source.is_closed.load(Ordering::Acquire) {
                let error = Error::new(
                    ErrorKind::Closed,
                    "cannot change the filters: the subscriber is closed",
                );
                return Err(error.unsent());
            }
            let connection = &self.shared.consuming_connection;
            match connection.unless_lost(self.apply(change, filter)).await {
                Err(error)
                    if matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Config) =>
                {
                    tracing::debug!(?error, "cannot change the filters yet");
                }
                outcome => return outcome,
            }
            pause(PAUSE_MIN).await;
        }
    }

    /// Applies a change to the list and at the broker.
    async fn apply(&self, change: FilterChange, filter: &Filter) -> Result<()> {
        let mut filters = self.source.filters.lock().await;
        let connection = &self.shared.consuming_connection;
        match change {
            FilterChange::Add => {
                self.source.add_binding(&connection.channel().await?, filter).await?;
                if !filters.contains(filter) {
                    filters.push(filter.clone());
                }
                Ok(())
            }
            FilterChange::Remove => {
                // Removed from the list first: if the broker cannot be reached now, the filter is
                // not bound to the next queue either.
                filters.retain(|other| other != filter);
                self.source.remove_binding(&connection.channel().await?, filter).await
            }
        }
    }
}
