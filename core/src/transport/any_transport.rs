//! Transport with an erased type.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Capabilities, DeadLetterQueue, DeadLetterSource, Filters, Receiver, Sender, Subscription,
    Transport, Window,
};
use crate::error::Result;
use crate::health::HealthReader;
use crate::message::Address;

/// Transport with an erased type, for programs that choose their transport at run time.
///
/// Opening an endpoint handle costs one allocation more than with the transport itself. Messages
/// cost nothing more. Clones share the transport.
///
/// ```
/// use polywire_core::{AnyTransport, Memory, Transport};
///
/// let transport = AnyTransport::new(Memory::new());
/// assert!(transport.capabilities().settlement);
/// ```
#[derive(Clone)]
pub struct AnyTransport(Arc<dyn DynTransport>);

impl AnyTransport {
    /// Wraps `transport`.
    #[must_use]
    pub fn new(transport: impl Transport) -> Self {
        Self(Arc::new(transport))
    }
}

impl Transport for AnyTransport {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        self.0.requester(service).await
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        self.0.responder(service, window).await
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        self.0.pusher(queue).await
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        self.0.puller(queue, window).await
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        self.0.publisher(channel).await
    }

    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        self.0.subscriber(channel, subscription).await
    }

    async fn dead_letters(&self, source: &DeadLetterSource) -> Result<Box<dyn DeadLetterQueue>> {
        self.0.dead_letters(source).await
    }

    async fn waiting_retries(&self, source: &DeadLetterSource) -> Result<u64> {
        self.0.waiting_retries(source).await
    }

    fn health(&self) -> HealthReader {
        self.0.health()
    }

    fn health_of(&self, name: &Address) -> HealthReader {
        self.0.health_of(name)
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

impl fmt::Debug for AnyTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyTransport")
    }
}

/// Object-safe twin of [`Transport`]. Every [`Transport`] implements it.
#[async_trait]
trait DynTransport: Send + Sync {
    fn capabilities(&self) -> Capabilities;
    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)>;
    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)>;
    async fn pusher(&self, queue: &Address) -> Result<Sender>;
    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver>;
    async fn publisher(&self, channel: &Address) -> Result<Sender>;
    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)>;
    async fn dead_letters(&self, source: &DeadLetterSource) -> Result<Box<dyn DeadLetterQueue>>;
    async fn waiting_retries(&self, source: &DeadLetterSource) -> Result<u64>;
    fn health(&self) -> HealthReader;
    fn health_of(&self, name: &Address) -> HealthReader;
    async fn close(&self) -> Result<()>;
}

#[async_trait]
impl<T: Transport> DynTransport for T {
    fn capabilities(&self) -> Capabilities {
        Transport::capabilities(self)
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        Transport::requester(self, service).await
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        Transport::responder(self, service, window).await
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        Transport::pusher(self, queue).await
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        Transport::puller(self, queue, window).await
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        Transport::publisher(self, channel).await
    }

    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        Transport::subscriber(self, channel, subscription).await
    }

    async fn dead_letters(&self, source: &DeadLetterSource) -> Result<Box<dyn DeadLetterQueue>> {
        Transport::dead_letters(self, source).await
    }

    async fn waiting_retries(&self, source: &DeadLetterSource) -> Result<u64> {
        Transport::waiting_retries(self, source).await
    }

    fn health(&self) -> HealthReader {
        Transport::health(self)
    }

    fn health_of(&self, name: &Address) -> HealthReader {
        Transport::health_of(self, name)
    }

    async fn close(&self) -> Result<()> {
        Transport::close(self).await
    }
}
