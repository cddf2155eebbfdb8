//! Receiving half of an endpoint handle.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use sync_wrapper::SyncWrapper;

use super::{Answer, Delivery, ServerNotice};
use crate::error::Result;
use crate::health::EndpointReporter;
use crate::message::{CallId, ReplyTo};

/// Backend side of a [`Receiver`]: a stream of deliveries.
///
/// The contract of [`Transport`](super::Transport) defines the error items and the end of the
/// stream. A stream that ends although the endpoint handle is open, for instance because a broker
/// refuses for good, yields its reason last, as an error marked by
/// [`Error::fatal`](crate::Error::fatal). When the stream is dropped, the backend requeues the
/// messages that it has fetched and not yielded. The receipts of yielded deliveries stay valid.
pub trait Inbound: Stream<Item = Result<Delivery>> + Send + 'static {
    /// Stops receiving.
    ///
    /// A backend with settlement requeues the messages that it has fetched and not yielded, and
    /// ends the stream. Without settlement, a responder yields the requests that still arrive,
    /// until the stream is dropped, so that core can refuse each. A puller and a subscriber take no
    /// more then, yield what has arrived, and end the stream.
    fn stop(self: Pin<&mut Self>);

    /// Returns whether deliveries carry the exact number of the attempt. The default is `true`.
    ///
    /// If `false`, each later attempt has the number 2. The value matters only
    /// for backends with [settlement](super::Capabilities::settlement).
    fn counts_attempts(&self) -> bool {
        true
    }

    /// Returns the reporter of the [health](crate::Transport::health) of this handle, by which core
    /// reports drains. The default is `None`: nothing is reported. An `Inbound` that wraps another
    /// receiver must forward this method.
    fn health(&self) -> Option<EndpointReporter> {
        None
    }

    /// Polls for a delivered request whose client has stopped waiting.
    ///
    /// Core also polls while its window is full, and after the stream has ended. The stream, or
    /// [`poll_read_ahead`](Self::poll_read_ahead), is polled next. The default never reports a
    /// call.
    fn poll_abandoned(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        let _ = cx;
        Poll::Pending
    }

    /// Reads on while there is no room for a delivery, so that
    /// [`poll_abandoned`](Self::poll_abandoned) learns of calls whose cancels wait behind requests.
    /// Ready if there is one to report.
    ///
    /// Core polls in place of the stream while its window is full, and after the stream has ended.
    /// An `Inbound` that wraps another receiver must forward this method. The default reads
    /// nothing, for backends whose cancels do not wait behind requests.
    fn poll_read_ahead(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Pending
    }

    /// Polls for the answer to a [question](super::Outbound::ask) of this server.
    ///
    /// Core polls as it polls for abandoned calls. The default never yields an answer.
    fn poll_answer(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let _ = cx;
        Poll::Pending
    }

    /// Makes a requester hand its replies and errors to `sink`, in place of the stream, as they
    /// arrive. Returns whether it does. The stream then yields what arrived before, and its end.
    ///
    /// A backend whose replies arrive in another task, or on another thread, saves the way through
    /// the stream and its task. The default returns `false`.
    fn deliver_to(self: Pin<&mut Self>, sink: ReplySink) -> bool {
        let _ = sink;
        false
    }

    /// Polls a requester for notices about the servers of its calls. The default never yields one.
    ///
    /// A question of a server arrives before the reply that the server sends.
    fn poll_notice(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ServerNotice> {
        let _ = cx;
        Poll::Pending
    }
}

/// Call whose client has stopped waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Abandoned {
    /// Reply address of the request.
    pub reply_to: ReplyTo,
    /// Id of the call.
    pub id: CallId,
    /// Set if the client waited until the deadline of the call.
    pub is_expired: bool,
}

impl Abandoned {
    /// Identifies the call by its reply address and its id. The client cancelled it.
    #[must_use]
    pub fn new(reply_to: ReplyTo, id: CallId) -> Self {
        Self { reply_to, id, is_expired: false }
    }

    /// Sets [`is_expired`](Self::is_expired).
    #[must_use]
    pub fn with_expired(self, is_expired: bool) -> Self {
        Self { is_expired, ..self }
    }
}

/// Taker of the replies of a requester; see [`Inbound::deliver_to`]. Clones are the same taker.
#[derive(Clone)]
pub struct ReplySink(Arc<dyn Fn(Result<Delivery>) + Send + Sync>);

impl ReplySink {
    pub(crate) fn new(take: impl Fn(Result<Delivery>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// Delivers a reply, or an error. Does not block, and may wake tasks: the backend calls it
    /// without a lock of its own.
    pub fn deliver(&self, reply: Result<Delivery>) {
        (self.0)(reply);
    }
}

impl fmt::Debug for ReplySink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplySink")
    }
}

/// Receiving half of an endpoint handle: a stream of deliveries.
pub struct Receiver(SyncWrapper<Pin<Box<dyn Inbound>>>);

impl Receiver {
    /// Creates a receiver from its backend side.
    #[must_use]
    pub fn new(inbound: impl Inbound) -> Self {
        Self(SyncWrapper::new(Box::pin(inbound)))
    }

    /// Waits for the next delivery or error; `None` after the endpoint handle is closed, or after a
    /// [fatal](crate::Error::fatal) error.
    ///
    /// If the future is dropped, no delivery is lost.
    pub async fn next(&mut self) -> Option<Result<Delivery>> {
        std::future::poll_fn(|cx| self.inbound().poll_next(cx)).await
    }

    /// Stops receiving; see [`Inbound::stop`].
    pub fn stop(&mut self) {
        self.inbound().stop();
    }

    /// Returns whether attempts are counted; see [`Inbound::counts_attempts`].
    #[must_use]
    pub fn counts_attempts(&mut self) -> bool {
        self.0.get_mut().counts_attempts()
    }

    /// Returns the reporter of the handle's health; see [`Inbound::health`].
    #[must_use]
    pub fn health(&mut self) -> Option<EndpointReporter> {
        self.0.get_mut().health()
    }

    /// Hands replies to a taker, if the backend can; see [`Inbound::deliver_to`].
    pub fn deliver_to(&mut self, sink: ReplySink) -> bool {
        self.inbound().deliver_to(sink)
    }

    /// Polls for an abandoned call; see [`Inbound::poll_abandoned`].
    ///
    /// The stream, or [`poll_read_ahead`](Self::poll_read_ahead), has to be polled next: a cancel
    /// may wait in a socket that nothing else reads.
    pub fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<Abandoned> {
        self.inbound().poll_abandoned(cx)
    }

    /// Reads on while there is no room for a delivery; see [`Inbound::poll_read_ahead`].
    pub fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inbound().poll_read_ahead(cx)
    }

    /// Polls for an answer; see [`Inbound::poll_answer`].
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        self.inbound().poll_answer(cx)
    }

    /// Polls for a notice; see [`Inbound::poll_notice`].
    pub fn poll_notice(&mut self, cx: &mut Context<'_>) -> Poll<ServerNotice> {
        self.inbound().poll_notice(cx)
    }

    fn inbound(&mut self) -> Pin<&mut dyn Inbound> {
        self.0.get_mut().as_mut()
    }
}

impl Stream for Receiver {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inbound().poll_next(cx)
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}
