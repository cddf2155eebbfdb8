//! Entry point of the in-memory transport.

use std::fmt;
use std::sync::Arc;

use super::broker::MemoryBroker;
use super::dead_letters::DeadLetterSession;
use super::open_handles::OpenHandles;
use super::{publisher, puller, pusher, requester, responder, subscriber};
use crate::error::Result;
use crate::health::{ConnectionState, EndpointRole, HealthReader, HealthReporter};
use crate::message::{Address, Limits};
use crate::transport::{
    Capabilities, DeadLetterQueue, DeadLetterSource, Filters, Receiver, Sender, Subscription,
    Transport, Window,
};

/// Transport within one process: for tests, examples, and services that share a program.
///
/// The transport keeps the whole contract of [`Transport`] and is the reference backend of the
/// conformance suite. Endpoint handles find each other in a namespace:
///
/// - [`Memory::new`] opens a transport in a new namespace.
/// - [`Memory::peer`] opens a second transport in the same namespace, as another process would.
/// - [`Memory::named`] opens a transport in a named namespace, as the URL `mem://name` does.
///
/// Clones share the transport.
///
/// Each queue of requests or jobs, and each queue of a subscriber, holds 1,024 messages; then
/// senders wait. A dead-letter queue keeps the latest 1,024 messages. Both end with the namespace.
///
/// ```
/// # use polywire_codec::MessagePack;
/// use polywire_core::{Client, Memory, Router, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), polywire_core::CallError> {
/// let transport = Memory::new();
/// let server = Server::bind(&transport, "calculator").await?;
/// let router =
///     Router::new(MessagePack).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) });
/// tokio::spawn(server.serve(router));
///
/// let client = Client::connect(&transport, "calculator", MessagePack).await?;
/// let sum: i64 = client.call("add", &(2, 3)).await?;
/// assert_eq!(sum, 5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Memory {
    broker: Arc<MemoryBroker>,
    handles: Arc<OpenHandles>,
    limits: Limits,
    health: HealthReporter,
}

impl Memory {
    /// Opens a transport in a new namespace.
    #[must_use]
    pub fn new() -> Self {
        Self::with_broker(Arc::default())
    }

    /// Opens a transport in the namespace `name`, which ends with its last transport.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::with_broker(MemoryBroker::named(name))
    }

    /// Opens another transport in the same namespace. Closing one leaves the other open.
    #[must_use]
    pub fn peer(&self) -> Self {
        Self { limits: self.limits, ..Self::with_broker(self.broker.clone()) }
    }

    /// Sets the size limits of messages. The default is [`Limits::default`].
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    fn with_broker(broker: Arc<MemoryBroker>) -> Self {
        let health = HealthReporter::new(ConnectionState::Connected);
        Self { broker, handles: Arc::default(), limits: Limits::default(), health }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(self.limits.body_max)
            .with_settlement(true)
            .with_cancellation(true)
            .with_interruption(true)
            .with_declining(true)
            .with_attempts(true)
            .with_delayed_retries(true)
            .with_dead_letters(true)
            .with_priorities(true)
            .with_pipeline(true)
            .with_pubsub(true)
            .with_holding(true)
            .with_groups(true)
            .with_durable_groups(true)
            .with_loss_reports(true)
            .with_unroutable_at_once(true)
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        self.handles.check_open()?;
        let (handle, sender, receiver) = requester::open(&self.broker, self.limits, service);
        self.handles.register(handle);
        Ok((sender, receiver))
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        self.handles.check_open()?;
        let (handles, sender, receiver) =
            responder::open(&self.broker, self.limits, (service, window), &self.health);
        handles.into_iter().for_each(|handle| self.handles.register(handle));
        Ok((sender, receiver))
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        self.handles.check_open()?;
        let (handle, sender) = pusher::open(self.broker.job_queue(queue), self.limits);
        self.handles.register(handle);
        Ok(sender)
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        self.handles.check_open()?;
        let health = (&self.health, EndpointRole::Puller, queue);
        let (handle, receiver) =
            puller::open(self.broker.job_queue(queue), (self.broker.next_id(), window), health);
        self.handles.register(handle);
        Ok(receiver)
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        self.handles.check_open()?;
        let (handle, sender) = publisher::open(self.broker.channel(channel), self.limits);
        self.handles.register(handle);
        Ok(sender)
    }

    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        self.handles.check_open()?;
        let (handle, receiver, filters) =
            subscriber::open(&self.broker, channel, subscription, &self.health)?;
        self.handles.register(handle);
        Ok((receiver, filters))
    }

    async fn dead_letters(&self, source: &DeadLetterSource) -> Result<Box<dyn DeadLetterQueue>> {
        self.handles.check_open()?;
        let store = self.broker.known_dead_letters(source).ok_or_else(|| source.unknown())?;
        Ok(Box::new(DeadLetterSession::new(store, self.broker.source_queue(source))))
    }

    async fn waiting_retries(&self, source: &DeadLetterSource) -> Result<u64> {
        self.handles.check_open()?;
        Ok(self.broker.known_queue(source).map_or(0, |queue| queue.waiting() as u64))
    }

    fn health(&self) -> HealthReader {
        self.health.reader()
    }

    async fn close(&self) -> Result<()> {
        self.health.set_connection(ConnectionState::Closed);
        self.handles.close();
        Ok(())
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("limits", &self.limits).finish_non_exhaustive()
    }
}
