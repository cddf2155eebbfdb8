//! Sending half of an endpoint handle.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::future::BoxFuture;
use tokio::time::timeout;

use super::{Asked, Question, ServerAddress};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{CallId, Message};

/// The default time limit of a call, and of sending a job or an event: 30 seconds.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Backend side of a [`Sender`].
///
/// When the last clone of the sender is dropped, the implementation is dropped, too.
pub trait Outbound: Send + Sync + 'static {
    /// Sends `message`.
    ///
    /// The implementation returns [`Sending::ready`], which costs no allocation, if the message is
    /// handed over or refused at once. It returns [`Sending::later`] if the message has to wait for
    /// room or for a broker's confirm.
    fn send(&self, message: Message) -> Sending<'_>;

    /// Sends a message that is in a box. The default takes the message out of the box.
    ///
    /// A backend that keeps messages as they are implements this method as well.
    fn send_boxed(&self, message: Box<Message>) -> Sending<'_> {
        self.send(*message)
    }

    /// Sends the request of a call whose caller waits for the reply, and not for the send alone.
    ///
    /// A backend with confirms may leave the caller's task asleep when the confirm arrives: the
    /// reply wakes the task, or the deadline. A failure has to wake the task. The default is
    /// [`send_boxed`](Self::send_boxed).
    fn send_call(&self, message: Box<Message>) -> Sending<'_> {
        self.send_boxed(message)
    }

    /// Sends a message, and may take over a function that is called with the result.
    ///
    /// A backend that receives confirms in a task or on a thread of its own saves its caller a task
    /// that waits for them: it gets the function from `then`, once, and returns a future that is
    /// ready. It then calls the function when the result is known, on any thread. The function
    /// neither waits nor sends. The default is [`send_boxed`](Self::send_boxed), and leaves `then`
    /// alone.
    fn send_then<'a>(&'a self, message: Box<Message>, then: GetOnSent<'_>) -> Sending<'a> {
        let _ = then;
        self.send_boxed(message)
    }

    /// Returns whether a message is certainly not sent if its send is dropped before it resolves.
    /// The default is `false`.
    fn is_unsent_when_dropped(&self) -> bool {
        false
    }

    /// Abandons a call whose request was sent, or whose sending has begun: the client no longer
    /// waits for the outcome.
    ///
    /// The method does not wait, and the notification may get lost. The default does nothing.
    fn abandon(&self, call: CallId) {
        let _ = call;
    }

    /// Abandons a call because its deadline has passed.
    ///
    /// The server estimates the deadline, and this call is exact. It reports
    /// [`Abandoned::is_expired`](super::Abandoned::is_expired) to the responder that runs the call,
    /// and leaves a queued request to it. The default [abandons](Self::abandon) the call.
    fn expire(&self, call: CallId) {
        self.abandon(call);
    }

    /// Asks the caller of a request whether this server may begin the call. Returns `false` if the
    /// caller cannot answer.
    ///
    /// The method does not wait, and the question may get lost: core repeats it. The answer arrives
    /// at [`Inbound::poll_answer`](super::Inbound::poll_answer) of the same handle. In place of a
    /// caller that is gone, the backend denies: otherwise the request keeps its place in the window
    /// until core gives up, after 10 seconds. The default does nothing, for backends that neither
    /// settle nor send a request again.
    fn ask(&self, question: &Question) -> bool {
        let _ = question;
        false
    }

    /// Answers the question of a server, which arrived at
    /// [`Inbound::poll_notice`](super::Inbound::poll_notice).
    ///
    /// The method does not wait, and the answer may get lost. The default does nothing.
    fn answer(&self, asked: &Asked, is_permitted: bool) {
        let _ = (asked, is_permitted);
    }

    /// Checks that a server, which asked before, still runs the requests that it holds.
    ///
    /// The method does not wait. If the server is gone, a [notice](super::ServerNotice::Gone)
    /// arrives at [`Inbound::poll_notice`](super::Inbound::poll_notice). Core checks each server
    /// again and again while it runs a permitted call. The default does nothing, for backends that
    /// fail the calls of a lost server without being asked.
    fn check(&self, server: &ServerAddress) {
        let _ = server;
    }
}

/// Function that is called with the result of a send; see [`Outbound::send_then`].
pub type OnSent = Box<dyn FnOnce(Result<()>) + Send>;

/// Function that makes an [`OnSent`], for a backend that calls it.
pub type GetOnSent<'a> = &'a mut (dyn FnMut() -> OnSent + Send);

/// Sending half of an endpoint handle. Clones send through the same handle.
#[derive(Clone)]
pub struct Sender(Arc<dyn Outbound>);

impl Sender {
    /// Creates a sender from its backend side.
    #[must_use]
    pub fn new(outbound: impl Outbound) -> Self {
        Self(Arc::new(outbound))
    }

    /// Sends `message`.
    ///
    /// The future resolves when the message is handed over in the strongest sense that the backend
    /// supports: with a broker's confirm, or in the queue of a peer. If the future is dropped
    /// before it resolves, the message may have been sent or not.
    pub fn send(&self, message: Message) -> Sending<'_> {
        self.0.send(message)
    }

    /// Sends a message that is in a box; see [`send`](Self::send).
    pub fn send_boxed(&self, message: Box<Message>) -> Sending<'_> {
        self.0.send_boxed(message)
    }

    /// Sends the request of a call; see [`Outbound::send_call`].
    pub(crate) fn send_call(&self, message: Box<Message>) -> Sending<'_> {
        self.0.send_call(message)
    }

    /// Sends a message, and may take over the function that `then` returns; see
    /// [`Outbound::send_then`].
    pub(crate) fn send_then<'a>(
        &'a self,
        message: Box<Message>,
        then: GetOnSent<'_>,
    ) -> Sending<'a> {
        self.0.send_then(message, then)
    }

    /// Sends a message, and may take over the function that `then` returns; see
    /// [`Outbound::send_then`] and [`send_at_once`](Self::send_at_once).
    pub(crate) fn send_then_at_once<'a>(
        &'a self,
        message: Box<Message>,
        then: GetOnSent<'_>,
    ) -> Result<Result<()>, Sending<'a>> {
        self.0.send_then(message, then).into_result()
    }

    /// Sends `message` and waits at most `limit`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::DeadlineExceeded`] after `limit`, unsent if the transport knows that, or the
    /// error of the transport.
    pub(crate) async fn send_within(&self, message: Message, limit: Duration) -> Result<()> {
        match self.send_at_once(message) {
            Ok(result) => result,
            Err(sending) => self.sent_within(sending, limit).await,
        }
    }

    /// Sends `message`. Returns the result if the message is handed over or refused at once, as
    /// most are, and the future otherwise.
    pub(crate) fn send_at_once(&self, message: Message) -> Result<Result<()>, Sending<'_>> {
        self.send(message).into_result()
    }

    /// Sends a message that is in a box; see [`send_at_once`](Self::send_at_once).
    pub(crate) fn send_boxed_at_once(
        &self,
        message: Box<Message>,
    ) -> Result<Result<()>, Sending<'_>> {
        self.send_boxed(message).into_result()
    }

    /// Waits at most `limit` for a message that is being sent; see
    /// [`send_within`](Self::send_within).
    pub(crate) async fn sent_within(&self, sending: Sending<'_>, limit: Duration) -> Result<()> {
        timeout(limit, sending).await.unwrap_or_else(|_| {
            let error =
                Error::new(ErrorKind::DeadlineExceeded, "cannot send the message: timed out");
            let error = error.with("milliseconds", limit.as_millis());
            Err(if self.0.is_unsent_when_dropped() { error.unsent() } else { error })
        })
    }

    /// Returns whether a dropped send is unsent; see [`Outbound::is_unsent_when_dropped`].
    #[must_use]
    pub fn is_unsent_when_dropped(&self) -> bool {
        self.0.is_unsent_when_dropped()
    }

    /// Abandons a call; see [`Outbound::abandon`].
    pub fn abandon(&self, call: CallId) {
        self.0.abandon(call);
    }

    /// Abandons a call whose deadline has passed; see [`Outbound::expire`].
    pub fn expire(&self, call: CallId) {
        self.0.expire(call);
    }

    /// Asks a caller; see [`Outbound::ask`].
    #[must_use]
    pub fn ask(&self, question: &Question) -> bool {
        self.0.ask(question)
    }

    /// Answers a server; see [`Outbound::answer`].
    pub fn answer(&self, asked: &Asked, is_permitted: bool) {
        self.0.answer(asked, is_permitted);
    }

    /// Checks a server; see [`Outbound::check`].
    pub fn check(&self, server: &ServerAddress) {
        self.0.check(server);
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

/// Future of a message that is being sent.
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sending<'a>(State<'a>);

enum State<'a> {
    Ready(Option<Result<()>>),
    Later(BoxFuture<'a, Result<()>>),
}

impl<'a> Sending<'a> {
    /// Creates a future that is ready: the message was handed over, or refused.
    pub fn ready(result: Result<()>) -> Self {
        Self(State::Ready(Some(result)))
    }

    /// Creates a future that resolves with `future`. This allocates a box.
    pub fn later(future: impl Future<Output = Result<()>> + Send + 'a) -> Self {
        Self(State::Later(Box::pin(future)))
    }
}

impl Sending<'_> {
    /// Returns the result if the future is ready, and the future itself otherwise.
    fn into_result(self) -> Result<Result<()>, Self> {
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

impl fmt::Debug for Sending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::Ready(result) => f.debug_tuple("Sending").field(result).finish(),
            State::Later(_) => f.debug_struct("Sending").finish_non_exhaustive(),
        }
    }
}
