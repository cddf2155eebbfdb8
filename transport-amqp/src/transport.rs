//! The transport.
//!
//! [`Amqp`] opens endpoint handles. Each has a file of its own, and all of them share the state in
//! [`AmqpShared`].

use std::fmt;
use std::sync::Arc;

#[cfg(doc)]
use polywire_core::ErrorKind;
use polywire_core::health::HealthReader;
use polywire_core::transport::{
    DeadLetterQueue, DeadLetterSource, Filters, Receiver, Sender, Subscription,
};
use polywire_core::{Address, Capabilities, Result, Transport, Window};
use tokio::task::coop::consume_budget;

use crate::builder::AmqpBuilder;
use crate::connection_events::ConnectionEvents;
use crate::foreign::{AmqpLayout, ForeignAmqp};
use crate::shared::AmqpShared;
use crate::{
    dead_letters, publisher, puller, pusher, requester, responder, subscriber, waiting_retries,
};

/// RabbitMQ as a transport.
///
/// ```no_run
/// # use polywire_codec::MessagePack;
/// use polywire_amqp::Amqp;
/// use polywire_core::Client;
///
/// # async fn add() -> Result<(), polywire_core::CallError> {
/// let transport = Amqp::connect("amqp://guest:guest@localhost").await?;
/// let calculator = Client::connect(&transport, "calculator", MessagePack).await?;
/// let sum: i64 = calculator.call("add", &(2, 3)).await?;
/// # Ok(())
/// # }
/// ```
///
/// Clones are the same transport. Dropping the last clone and all its endpoint handles closes the
/// connections.
#[doc = include_str!("../docs/broker.md")]
#[derive(Clone)]
pub struct Amqp(Arc<AmqpShared>);

impl Amqp {
    /// Connects to the broker of a URL, with the default settings:
    /// `amqp://user:password@host:port/vhost`, or `amqps://` for TLS. The
    /// [parameters](#url-parameters) of the URL override the defaults.
    ///
    /// Without a virtual host, or with a single slash, the virtual host is `/`. The brokers of a
    /// cluster are separated by commas: `amqp://user:password@a:5672,b:5672/vhost`. The transport
    /// connects to the first broker that accepts, and to the next one when the connection is lost.
    ///
    /// Dropping the future closes the connection.
    ///
    /// Each broker of the URL gets the connect timeout, for each of the two connections.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a malformed URL, and the errors of [`AmqpBuilder::build`].
    pub async fn connect(url: &str) -> Result<Self> {
        // A loop over attempts that fail at once leaves other tasks their turns.
        consume_budget().await;
        Self::builder(url)?.build().await
    }

    /// Creates a builder with the settings of a URL.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a malformed URL; [`ErrorKind::Unsupported`] for `amqps` without
    /// the feature `tls`.
    pub fn builder(url: &str) -> Result<AmqpBuilder> {
        AmqpBuilder::new(url)
    }

    /// Returns the state of each connection, followed by each change: connected, lost, restored,
    /// blocked, unblocked, refused.
    ///
    /// The streams are independent of one another.
    #[must_use]
    pub fn events(&self) -> ConnectionEvents {
        self.0.broadcast.subscribe()
    }

    /// Returns a transport over the same connections whose messages have the layout of another
    /// system.
    ///
    /// Nothing is declared before a handle opens. Both transports serve at once: the native callers
    /// of a service and those of the other system.
    #[must_use]
    pub fn with_layout(&self, layout: impl AmqpLayout) -> ForeignAmqp {
        ForeignAmqp::new(self.0.clone(), layout)
    }
}

impl AmqpBuilder {
    /// Connects.
    ///
    /// Dropping the future closes the connection.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Disconnected`] if no broker answers within the connect timeout,
    /// - [`ErrorKind::Denied`] if the broker refuses the user or the virtual host,
    /// - [`ErrorKind::Config`] if a setting is out of its bounds, or a certificate cannot be read,
    /// - [`ErrorKind::Config`] if the options of a queue contradict each other, or the
    ///   [topology](Self::topology) differs at the broker.
    ///
    /// The details of a connection error name the host and the port.
    pub async fn build(self) -> Result<Amqp> {
        consume_budget().await;
        self.config.validate()?;
        AmqpShared::open(self.config).await.map(Amqp)
    }
}

impl Transport for Amqp {
    /// Returns the capabilities of RabbitMQ. Three depend on the settings: `cancellation` and
    /// `interruption` are false with direct replies, and `security` is false if messages carry no
    /// user name.
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::least(self.0.config.limits.body_max);
        (capabilities.settlement, capabilities.attempts) = (true, true);
        let is_direct = self.0.replies.is_direct();
        (capabilities.cancellation, capabilities.interruption) = (!is_direct, !is_direct);
        capabilities.declining = true;
        (capabilities.durable, capabilities.holding) = (true, true);
        (capabilities.pipeline, capabilities.pubsub) = (true, true);
        (capabilities.groups, capabilities.durable_groups) = (true, true);
        capabilities.loss_reports = true;
        (capabilities.delayed_retries, capabilities.dead_letters) = (true, true);
        (capabilities.priorities, capabilities.unroutable_at_once) = (true, true);
        capabilities.security = self.0.config.sends_user_id();
        capabilities
    }

    /// Opens a requester. The first requester of the transport declares the reply queue.
    ///
    /// The queue of the service is not declared, so that a call to a service without a server is
    /// unroutable at once. Dropping the future leaves nothing at the broker but the reply queue,
    /// which expires.
    ///
    /// Later requesters share the queue and its consumer. Each has a number, by which its replies
    /// are routed.
    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        self.0.tasks.check_open()?;
        self.0.within_connect_timeout(self.0.start_replies()).await?;
        requester::open(&self.0, service)
    }

    /// Opens a responder. Declares and consumes the queue of the service, and listens to
    /// cancellations.
    ///
    /// The window is the prefetch of the consumer: the broker sends no more unsettled requests.
    /// Dropping the future cancels the consumer.
    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        self.0.tasks.check_open()?;
        self.0.within_connect_timeout(responder::open(&self.0, service, window)).await
    }

    /// Opens a pusher. Declares the job queue, so that jobs can be pushed before the first puller
    /// exists.
    ///
    /// If the future is dropped, the queue may stay.
    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        self.0.tasks.check_open()?;
        self.0.within_connect_timeout(pusher::open(&self.0, queue)).await
    }

    /// Opens a puller. Declares and consumes the job queue, with the window as prefetch. Dropping
    /// the future cancels the consumer.
    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        self.0.tasks.check_open()?;
        self.0.within_connect_timeout(puller::open(&self.0, queue, window)).await
    }

    /// Opens a publisher. Declares the exchange of the channel. Events without a bound queue are
    /// dropped by the broker.
    ///
    /// If the future is dropped, the exchange may stay.
    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        self.0.tasks.check_open()?;
        self.0.within_connect_timeout(publisher::open(&self.0, channel)).await
    }

    /// Opens a subscriber. Declares the exchange of the channel, and declares, binds and consumes a
    /// queue: that of the group, or one of its own.
    ///
    /// A new member of a group adds its filters to the bindings of the group's queue. Dropping the
    /// future cancels the consumer.
    ///
    /// Each event that is published after the future has resolved is received.
    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        self.0.tasks.check_open()?;
        self.0.within_connect_timeout(subscriber::open(&self.0, channel, subscription)).await
    }

    /// Opens a session on the dead letters of a job queue, a service or a group. Declares the
    /// dead-letter queue.
    ///
    /// Dropping the session returns all unsettled dead letters to the queue.
    ///
    /// A source that does not exist and has no dead letters is an error of the kind
    /// [`ErrorKind::Config`].
    async fn dead_letters(&self, source: &DeadLetterSource) -> Result<Box<dyn DeadLetterQueue>> {
        self.0.tasks.check_open()?;
        self.0.within_connect_timeout(dead_letters::open(&self.0, source)).await
    }

    /// Returns the number of messages in the retry queues of `source` that this transport has used
    /// since it connected.
    ///
    /// If the future is dropped, the channel of the count is closed later.
    async fn waiting_retries(&self, source: &DeadLetterSource) -> Result<u64> {
        self.0.tasks.check_open()?;
        self.0.within_connect_timeout(waiting_retries::count(&self.0, source)).await
    }

    /// Returns a reader of the health. The connection is connected if both connections are: the one
    /// that publishes and the one that consumes; or the only one, if there is one.
    fn health(&self) -> HealthReader {
        self.0.broadcast.health().reader()
    }

    /// Closes the transport within about 5 seconds: deletes the reply queue and the queues of
    /// subscribers without a group, then disconnects. If the future is dropped, closing goes on. A
    /// second call waits for the same end.
    ///
    /// From the beginning on, each send fails as [`ErrorKind::Closed`], and each receiver ends.
    async fn close(&self) -> Result<()> {
        self.0.close().await;
        Ok(())
    }
}

impl fmt::Debug for Amqp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Amqp").field("config", &self.0.config).finish_non_exhaustive()
    }
}
