//! The transport of a component, with a gate in front of everything that it sends.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use polywire_core::message::CallId;
use polywire_core::transport::{
    Asked, DeadLetterQueue, DeadLetterSource, Filters, Outbound, Question, Receiver, Sender,
    Sending, ServerAddress, Subscription,
};
use polywire_core::{
    Address, AnyTransport, Capabilities, Error, ErrorKind, Message, Result, Transport, Window,
};

/// Transport of a component, to connect clients, pushers and publishers.
///
/// It is the transport of the URL, and has a gate: after
/// [`Component::stop_publishing`](crate::Component::stop_publishing), each call, job and event fails
/// with [`ErrorKind::Closed`] and is [unsent](Error::is_unsent). Replies are sent in any case.
/// Clones share the transport and the gate.
#[derive(Clone)]
pub struct AppTransport {
    inner: AnyTransport,
    is_stopped: Arc<AtomicBool>,
}

impl AppTransport {
    /// Puts a gate in front of `inner`. The gate is open.
    pub(crate) fn new(inner: AnyTransport) -> Self {
        Self { inner, is_stopped: Arc::default() }
    }

    /// Opens or closes the gate.
    pub(crate) fn set_publishing(&self, is_open: bool) {
        self.is_stopped.store(!is_open, Ordering::SeqCst);
    }

    /// Returns whether the gate is open.
    pub(crate) fn is_publishing(&self) -> bool {
        !self.is_stopped.load(Ordering::SeqCst)
    }

    fn gated(&self, sender: Sender) -> Sender {
        Sender::new(Gated { sender, is_stopped: self.is_stopped.clone() })
    }
}

impl Transport for AppTransport {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        let (sender, receiver) = self.inner.requester(service).await?;
        Ok((self.gated(sender), receiver))
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        self.inner.responder(service, window).await
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        Ok(self.gated(self.inner.pusher(queue).await?))
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        self.inner.puller(queue, window).await
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        Ok(self.gated(self.inner.publisher(channel).await?))
    }

    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        self.inner.subscriber(channel, subscription).await
    }

    async fn dead_letters(&self, source: &DeadLetterSource) -> Result<Box<dyn DeadLetterQueue>> {
        self.inner.dead_letters(source).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl fmt::Debug for AppTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppTransport")
            .field("is_publishing", &self.is_publishing())
            .finish_non_exhaustive()
    }
}

/// A sender behind the gate.
struct Gated {
    sender: Sender,
    is_stopped: Arc<AtomicBool>,
}

impl Outbound for Gated {
    fn send(&self, message: Message) -> Sending<'_> {
        if self.is_stopped.load(Ordering::SeqCst) {
            return Sending::ready(Err(stopped()));
        }
        self.sender.send(message)
    }

    fn is_unsent_when_dropped(&self) -> bool {
        self.sender.is_unsent_when_dropped()
    }

    fn abandon(&self, call: CallId) {
        self.sender.abandon(call);
    }

    fn expire(&self, call: CallId) {
        self.sender.expire(call);
    }

    fn ask(&self, question: &Question) -> bool {
        self.sender.ask(question)
    }

    fn answer(&self, asked: &Asked, is_permitted: bool) {
        self.sender.answer(asked, is_permitted);
    }

    fn check(&self, server: &ServerAddress) {
        self.sender.check(server);
    }
}

/// Returns the error of a closed gate.
fn stopped() -> Error {
    let text = "cannot send the message: the component has stopped publishing";
    Error::new(ErrorKind::Closed, text).unsent()
}
