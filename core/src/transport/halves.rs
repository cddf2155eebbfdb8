//! The two halves that every end is made of.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use sync_wrapper::SyncWrapper;

use super::Delivery;
use crate::error::Result;
use crate::message::{CallId, Message, ReplyTo};

/// What a backend implements for the sending half of an end.
pub trait Outbound: Send + Sync + 'static {
    /// Hands `message` over. What is done at once is [`Sending::ready`], which costs no allocation;
    /// what has to wait, for room or for a broker's confirm, is [`Sending::later`].
    fn send(&self, message: Message) -> Sending<'_>;

    /// Says that nobody waits any more for the outcome of this call, which was sent, or begun to be
    /// sent. Does not wait, and may get lost. The default is to say nothing.
    fn abandon(&self, call: CallId) {
        let _ = call;
    }
}

/// The sending half of an end. Clones send into the same end.
#[derive(Clone)]
pub struct Sender(Arc<dyn Outbound>);

impl Sender {
    /// The half that sends through `outbound`.
    #[must_use]
    pub fn new(outbound: impl Outbound) -> Self {
        Self(Arc::new(outbound))
    }

    /// Hands `message` over. The future resolves when the backend has it in the strongest sense it
    /// knows: a broker's confirm, a place in a peer's queue.
    ///
    /// Dropped before it resolves, the message may have been sent or not.
    pub fn send(&self, message: Message) -> Sending<'_> {
        self.0.send(message)
    }

    /// Says that nobody waits any more for the outcome of this call; see [`Outbound::abandon`].
    pub fn abandon(&self, call: CallId) {
        self.0.abandon(call);
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

/// A message on its way out.
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sending<'a>(State<'a>);

enum State<'a> {
    Ready(Option<Result<()>>),
    Later(BoxFuture<'a, Result<()>>),
}

impl<'a> Sending<'a> {
    /// Handed over already, or refused.
    pub fn ready(result: Result<()>) -> Self {
        Self(State::Ready(Some(result)))
    }

    /// Handed over when `future` resolves.
    pub fn later(future: impl Future<Output = Result<()>> + Send + 'a) -> Self {
        Self(State::Later(Box::pin(future)))
    }
}

impl Sending<'_> {
    /// The result, if it is there already.
    pub(crate) fn into_result(self) -> Result<Result<()>, Self> {
        match self.0 {
            State::Ready(Some(result)) => Ok(result),
            state => Err(Self(state)),
        }
    }
}

impl Future for Sending<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(result) => result.take().map_or(Poll::Pending, Poll::Ready),
            State::Later(future) => future.as_mut().poll(cx),
        }
    }
}

/// What a backend implements for the receiving half of an end.
///
/// The stream is the deliveries; see the contract of [`Transport`](crate::Transport) for its errors
/// and its end. Dropping it means that no more is wanted: what it holds undelivered is handed back.
/// Receipts of what it delivered stay valid.
pub trait Inbound: Stream<Item = Result<Delivery>> + Send + 'static {
    /// Takes in no more. A backend with settlement hands back what it holds undelivered and the
    /// stream ends; one without goes on yielding what keeps arriving, so that each can be
    /// refused, until it is dropped.
    fn stop(self: Pin<&mut Self>);

    /// Whether each delivery says which attempt it is, and not only whether it is the first. The
    /// default is yes; it matters where deliveries can be
    /// [settled](crate::Capabilities::settlement).
    fn counts_attempts(&self) -> bool {
        true
    }

    /// Which call's caller has stopped waiting, among the requests that were delivered. It is
    /// polled also while there is no room for deliveries, and after their end. The default is
    /// that nobody ever says so.
    fn poll_abandoned(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        let _ = cx;
        Poll::Pending
    }
}

/// A call for whose outcome nobody waits any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Abandoned {
    /// The return address that its request came with.
    pub reply_to: ReplyTo,
    /// Its number.
    pub id: CallId,
}

impl Abandoned {
    /// The call of this return address and number.
    #[must_use]
    pub fn new(reply_to: ReplyTo, id: CallId) -> Self {
        Self { reply_to, id }
    }
}

/// The receiving half of an end: a stream of deliveries.
pub struct Receiver(SyncWrapper<Pin<Box<dyn Inbound>>>);

impl Receiver {
    /// The half that receives through `inbound`.
    #[must_use]
    pub fn new(inbound: impl Inbound) -> Self {
        Self(SyncWrapper::new(Box::pin(inbound)))
    }

    /// The next delivery, or an error about one; `None` when the end is closed. Nothing is lost if
    /// it is dropped.
    pub async fn next(&mut self) -> Option<Result<Delivery>> {
        std::future::poll_fn(|cx| self.inbound().poll_next(cx)).await
    }

    /// Takes in no more; see [`Inbound::stop`].
    pub fn stop(&mut self) {
        self.inbound().stop();
    }

    /// Whether attempts are counted; see [`Inbound::counts_attempts`].
    #[must_use]
    pub fn counts_attempts(&mut self) -> bool {
        self.0.get_mut().counts_attempts()
    }

    /// Which call's caller has stopped waiting; see [`Inbound::poll_abandoned`].
    pub fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<Abandoned> {
        self.inbound().poll_abandoned(cx)
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
