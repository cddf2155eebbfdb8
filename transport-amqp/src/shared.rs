//! State that all endpoint handles of a transport share.
//!
//! A handle holds an `Arc` of [`AmqpShared`], so the connections live as long as the transport or
//! any of its handles. Messages go out over one connection and come in over the other: a broker
//! that blocks publishers still accepts acknowledgements and declarations. A transport may have one
//! connection for both.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::health::ConnectionState;
use polywire_core::transport::WaitingTimes;
use polywire_core::{Error, ErrorKind, Message, Result};
use rustc_hash::FxHashSet;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{timeout, timeout_at};

use crate::common_errors::closed;
use crate::config::Config;
use crate::connection::event_broadcast::ConnectionEventBroadcast;
use crate::connection::supervised_connection::SupervisedConnection;
use crate::connection_events::ConnectionRole;
use crate::consuming::acker::ChannelAcker;
use crate::consuming::cancellation::sender::CancelSender;
use crate::consuming::pending_republishes::{PendingRepublishes, REPUBLISH_MAX};
use crate::consuming::reply_consumer::ReplyConsumer;
use crate::lock::lock;
use crate::publishing::confirmed_publisher::ConfirmedPublisher;
use crate::publishing::event_publishers::{EventPublisher, EventPublishers};
use crate::tasks::Tasks;
use crate::topology::declare_custom_topology;
use crate::topology::declared_queues::DeclaredQueues;
use crate::topology::queue_spec::{self, QueueSpec};
use crate::wire::OutgoingMessage;

/// Connections, settings and background tasks of one transport.
pub(crate) struct AmqpShared {
    /// First, so that dropping the transport aborts the tasks before anything else.
    pub(crate) tasks: Tasks,
    /// Settings, unchanged after connecting.
    pub(crate) config: Config,
    /// Connection for consumers, declarations and everything else that must work under an alarm.
    /// The same as the other one, if the transport has one connection.
    pub(crate) consuming_connection: Arc<SupervisedConnection>,
    /// Connection for messages. The broker stops reading from it under an alarm.
    pub(crate) publishing_connection: Arc<SupervisedConnection>,
    /// Publisher of all messages to the default exchange.
    pub(crate) publisher: ConfirmedPublisher,
    /// Publishers of events, by exchange.
    pub(crate) events: EventPublishers,
    /// Consumer of the replies to all requesters.
    pub(crate) replies: Arc<ReplyConsumer>,
    /// Estimates of the time that messages with a deadline waited in their queues. Shared, so that
    /// a consumer that opens knows the clocks that other consumers know.
    pub(crate) waiting_times: WaitingTimes,
    /// Retry and dead-letter queues that were declared recently.
    pub(crate) declared_queues: DeclaredQueues,
    /// Number of copies whose originals are not acknowledged yet; closing waits for zero.
    pub(crate) republishing: PendingRepublishes,
    /// Broadcast of connection events.
    pub(crate) broadcast: ConnectionEventBroadcast,
    /// Ackers of the consumers, whose acknowledgements are sent before the connection closes.
    ackers: Mutex<Vec<Weak<ChannelAcker>>>,
    /// Names of the queues of this transport alone, which closing deletes.
    private_queues: Mutex<FxHashSet<String>>,
    /// Set once the reply consumer has registered, with the first requester.
    replies_started: OnceCell<()>,
    /// True once closing has finished.
    shut_down: watch::Sender<bool>,
}

impl AmqpShared {
    /// Connects, to publish and to consume, and opens a channel to publish on.
    ///
    /// The connections are made one after the other: first the one that publishes. The program's
    /// topology is declared last, and a task keeps it from then on.
    ///
    /// # Errors
    ///
    /// Those of connecting, or [`ErrorKind::Disconnected`] if opening the channel exceeds the
    /// connect timeout. Dropping the future closes what is connected by then.
    pub(crate) async fn open(config: Config) -> Result<Arc<Self>> {
        let mut config = config;
        config.one_connection |= config.connections.is_given();
        let roles: &[_] = match config.one_connection {
            true => &[ConnectionRole::Both],
            false => &[ConnectionRole::Publishing, ConnectionRole::Consuming],
        };
        let broadcast = ConnectionEventBroadcast::new(roles);
        let mut connections = Vec::new();
        for role in roles {
            let opening = SupervisedConnection::open(config.clone(), *role, broadcast.clone());
            connections.push(Arc::new(opening.await?));
        }
        let publishing_connection = connections[0].clone();
        let consuming_connection = connections[connections.len() - 1].clone();
        let replies = Arc::new(ReplyConsumer::new(&config));
        let direct_replies = replies.is_direct().then(|| replies.clone());
        let opening =
            ConfirmedPublisher::open(publishing_connection.clone(), &config, direct_replies);
        let publisher =
            timeout(config.connect_timeout, opening).await.map_err(|_| timed_out(&config))??;
        let tasks = Tasks::default();
        if !config.topology.is_empty() {
            let connection = &consuming_connection;
            let declaring = declare_custom_topology::declare(connection, &config.topology);
            timeout(config.connect_timeout, connection.unless_lost(declaring))
                .await
                .map_err(|_| timed_out(&config))??;
            let keeping = declare_custom_topology::keep(
                connection.clone(),
                config.topology.clone(),
                config.topology_check,
            );
            tasks.add(tokio::spawn(keeping).abort_handle());
        }
        Ok(Arc::new(Self {
            tasks,
            declared_queues: DeclaredQueues::new(config.retry_queue_expiry),
            config,
            consuming_connection,
            publishing_connection,
            publisher,
            events: EventPublishers::default(),
            replies,
            waiting_times: WaitingTimes::new(),
            republishing: PendingRepublishes::default(),
            broadcast,
            ackers: Mutex::default(),
            private_queues: Mutex::default(),
            replies_started: OnceCell::new(),
            shut_down: watch::Sender::new(false),
        }))
    }

    /// Checks a message before it is encoded.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] on a closed transport, [`ErrorKind::TooLarge`] beyond a limit.
    pub(crate) fn check_message(&self, message: &Message) -> Result<()> {
        self.tasks.check_open()?;
        self.config.limits.check(message)
    }

    /// Returns the publisher of events to an exchange.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the connection has no room for another exchange.
    pub(crate) fn event_publisher(&self, exchange: ShortString) -> Result<Arc<EventPublisher>> {
        let connections = [&self.publishing_connection, &self.consuming_connection];
        self.events.publisher(exchange, connections, &self.config)
    }

    /// Publishes a message in a task of its own, and passes the result to `then`. The deadline of
    /// the message bounds the task. Outside of a runtime, nothing is published.
    ///
    /// After the deadline, `then` is not called.
    pub(crate) fn publish_later(
        self: &Arc<Self>,
        message: OutgoingMessage,
        then: impl FnOnce(&Self, Result<()>) + Send + 'static,
    ) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (shared, deadline) = (self.clone(), message.deadline);
        drop(runtime.spawn(async move {
            let publishing = shared.publisher.publish(message);
            let sent = match deadline {
                Some(deadline) => match timeout_at(deadline.instant(), publishing).await {
                    Ok(sent) => sent,
                    Err(_) => return,
                },
                None => publishing.await,
            };
            then(&shared, sent);
        }));
    }

    /// Runs `setup` within the connect timeout.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] after the connect timeout, besides the errors of `setup`. On a
    /// timeout, `setup` is dropped, so each setup has to clean up when it is dropped.
    pub(crate) async fn within_connect_timeout<T>(
        &self,
        setup: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        timeout(self.config.connect_timeout, setup).await.map_err(|_| timed_out(&self.config))?
    }

    /// Registers the acker of a consumer.
    pub(crate) fn add_acker(&self, acker: &Arc<ChannelAcker>) {
        let mut ackers = lock(&self.ackers);
        ackers.retain(|acker| acker.strong_count() > 0);
        ackers.push(Arc::downgrade(acker));
    }

    /// Registers a queue that only this transport consumes, to delete it on close.
    pub(crate) fn add_private_queue(&self, queue: &QueueSpec) {
        lock(&self.private_queues).insert(queue.name.to_string());
    }

    /// Deletes a registered queue. If the broker cannot be reached within a second, the queue
    /// expires by itself.
    pub(crate) async fn delete_private_queue(&self, queue: &QueueSpec) {
        if lock(&self.private_queues).remove(queue.name.as_str()) {
            self.delete_queues([queue.name.clone()]).await;
        }
    }

    /// Deletes queues within a second. On failure, the queues expire by themselves.
    async fn delete_queues(&self, queues: impl IntoIterator<Item = ShortString>) {
        let deleting =
            async { queue_spec::delete(&self.consuming_connection.channel().await?, queues).await };
        match timeout(DELETE_MAX, deleting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(?error, "cannot delete queues; they will expire"),
            Err(_) => {
                tracing::debug!("cannot delete queues without a connection; they will expire");
            }
        }
    }

    /// Starts the reply consumer, unless it runs already. Direct replies need none: they arrive on
    /// the channel that publishes.
    ///
    /// Dropping the future aborts a consumer that has not started yet; the next caller starts
    /// another one.
    pub(crate) async fn start_replies(&self) -> Result<()> {
        if self.replies.is_direct() {
            return Ok(());
        }
        let start = || async {
            let (started, ready) = oneshot::channel();
            let connection = self.consuming_connection.clone();
            let running = tokio::spawn(self.replies.clone().run(connection, started));
            let running = running.abort_handle();
            self.tasks.add(running.clone());
            let starting = AbortOnDrop(running);
            ready.await.map_err(|_| closed())??;
            starting.disarm();
            Ok(())
        };
        self.replies_started.get_or_try_init(start).await.map(|_| ())
    }

    /// Returns the sender of cancellations. There is none for direct replies, whose reply address
    /// is valid only on the channel that publishes the requests.
    ///
    /// The first call starts its task, and panics outside of a runtime.
    pub(crate) fn cancel_sender(&self) -> Option<&CancelSender> {
        let start = || CancelSender::start(self.publishing_connection.clone(), &self.tasks);
        self.replies.cancel_sender(start)
    }

    /// Closes the transport, in a task of its own, and waits for the end. A second call waits for
    /// the same end. If the future is dropped, the task goes on.
    pub(crate) async fn close(self: &Arc<Self>) {
        let mut shut_down = self.shut_down.subscribe();
        if self.tasks.close() {
            self.broadcast.health().set_connection(ConnectionState::Closed);
            self.replies.close();
            self.config.queues.warn_of_unused();
            let closing = ShutDownGuard(self.clone());
            drop(tokio::spawn(async move { closing.0.shut_down().await }));
        }
        // The sender is a field of `self`, so waiting cannot fail.
        let _ = shut_down.wait_for(|done| *done).await;
    }

    /// Sends the acknowledgements that wait to be sent together.
    fn flush_acks(&self) {
        lock(&self.ackers).iter().filter_map(Weak::upgrade).for_each(|acker| acker.flush());
    }

    /// Waits for republished copies, then stops the tasks, deletes private queues and disconnects.
    ///
    /// Waits for up to 2 seconds for the copies, 1 second for the queues, and 2 seconds for the
    /// connections.
    async fn shut_down(&self) {
        // A connection that closes between a copy and its acknowledgement leaves both messages.
        if timeout(REPUBLISH_MAX, self.republishing.wait_idle()).await.is_err() {
            tracing::warn!("closing during a redelivery: the broker may hold the message twice");
        }
        self.flush_acks();
        self.publisher.close();
        self.events.close();
        self.tasks.abort_all();
        let mut private: Vec<_> =
            lock(&self.private_queues).drain().map(ShortString::from).collect();
        if self.replies_started.initialized() && !self.replies.is_named() {
            private.push(self.replies.queue().name);
        }
        if !private.is_empty() {
            self.delete_queues(private).await;
        }
        // Replies may have been confirmed meanwhile.
        self.flush_acks();
        if self.config.one_connection {
            self.consuming_connection.close().await;
        } else {
            tokio::join!(self.publishing_connection.close(), self.consuming_connection.close());
        }
    }
}

/// Reports the end of the closing task, also when its runtime stops first.
struct ShutDownGuard(Arc<AmqpShared>);

impl Drop for ShutDownGuard {
    fn drop(&mut self) {
        self.0.shut_down.send_replace(true);
    }
}

/// Aborts a task on drop.
struct AbortOnDrop(AbortHandle);

impl AbortOnDrop {
    /// Keeps the task running.
    fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns the error of a setup that exceeded the connect timeout. No message was sent.
fn timed_out(config: &Config) -> Error {
    let (host, port) = (config.url.host(), config.url.port());
    let limit = config.connect_timeout;
    let cause = format!("the setup was not complete within the connect timeout of {limit:?}");
    Error::new(ErrorKind::Disconnected, "cannot set up at the broker")
        .with("host", host)
        .with("port", port)
        .with_source(cause)
        .unsent()
}

/// The longest wait for queues to be deleted, before they are left to expire.
const DELETE_MAX: Duration = Duration::from_secs(1);
