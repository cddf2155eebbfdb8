//! A transport that is chosen at run time.

use std::fmt;
use std::sync::Arc;

use futures_core::future::BoxFuture;

use super::{
    Capabilities, DeadLetterQueue, DeadLetterSource, Filters, Receiver, Sender, Subscription,
    Transport, Window,
};
use crate::error::Result;
use crate::message::Address;

/// Any transport, behind a pointer: for programs that choose theirs by a URL.
///
/// It costs an allocation when an end is opened, and nothing per message. Clones are the same
/// transport.
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
    /// Erases the type of `transport`.
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

    async fn dead_letters(&self, origin: &DeadLetterSource) -> Result<Box<dyn DeadLetterQueue>> {
        self.0.dead_letters(origin).await
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

/// The object-safe twin of [`Transport`].
trait DynTransport: Send + Sync {
    fn capabilities(&self) -> Capabilities;
    fn requester<'a>(&'a self, service: &'a Address) -> BoxFuture<'a, Result<(Sender, Receiver)>>;
    fn responder<'a>(
        &'a self,
        service: &'a Address,
        window: Window,
    ) -> BoxFuture<'a, Result<(Sender, Receiver)>>;
    fn pusher<'a>(&'a self, queue: &'a Address) -> BoxFuture<'a, Result<Sender>>;
    fn puller<'a>(&'a self, queue: &'a Address, window: Window) -> BoxFuture<'a, Result<Receiver>>;
    fn publisher<'a>(&'a self, channel: &'a Address) -> BoxFuture<'a, Result<Sender>>;
    fn subscriber<'a>(
        &'a self,
        channel: &'a Address,
        subscription: Subscription,
    ) -> BoxFuture<'a, Result<(Receiver, Filters)>>;
    fn dead_letters<'a>(
        &'a self,
        origin: &'a DeadLetterSource,
    ) -> BoxFuture<'a, Result<Box<dyn DeadLetterQueue>>>;
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}

impl<T: Transport> DynTransport for T {
    fn capabilities(&self) -> Capabilities {
        Transport::capabilities(self)
    }

    fn requester<'a>(&'a self, service: &'a Address) -> BoxFuture<'a, Result<(Sender, Receiver)>> {
        Box::pin(Transport::requester(self, service))
    }

    fn responder<'a>(
        &'a self,
        service: &'a Address,
        window: Window,
    ) -> BoxFuture<'a, Result<(Sender, Receiver)>> {
        Box::pin(Transport::responder(self, service, window))
    }

    fn pusher<'a>(&'a self, queue: &'a Address) -> BoxFuture<'a, Result<Sender>> {
        Box::pin(Transport::pusher(self, queue))
    }

    fn puller<'a>(&'a self, queue: &'a Address, window: Window) -> BoxFuture<'a, Result<Receiver>> {
        Box::pin(Transport::puller(self, queue, window))
    }

    fn publisher<'a>(&'a self, channel: &'a Address) -> BoxFuture<'a, Result<Sender>> {
        Box::pin(Transport::publisher(self, channel))
    }

    fn subscriber<'a>(
        &'a self,
        channel: &'a Address,
        subscription: Subscription,
    ) -> BoxFuture<'a, Result<(Receiver, Filters)>> {
        Box::pin(Transport::subscriber(self, channel, subscription))
    }

    fn dead_letters<'a>(
        &'a self,
        origin: &'a DeadLetterSource,
    ) -> BoxFuture<'a, Result<Box<dyn DeadLetterQueue>>> {
        Box::pin(Transport::dead_letters(self, origin))
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(Transport::close(self))
    }
}
