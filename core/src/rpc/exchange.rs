//! The exchange of a request and its reply.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::task::coop::poll_proceed;

use super::pending_calls::{CallEnd, PendingCall, PendingCalls, interrupted};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Deadline, Message};
use crate::service::SentSignal;
use crate::transport::{DEFAULT_TIMEOUT, Sender, Sending};

/// The future of one exchange: sends a request as a new call, and waits for the reply until the
/// deadline of the message. Resolves to `None` if the deadline passes.
///
/// A future by hand: an async function would keep its arguments beside its variables, and each
/// in-flight call has one of these futures.
///
/// Dropping the future cancels the call.
pub(super) struct Exchange<'a> {
    sender: &'a Sender,
    state: State<'a>,
    sent_signal: Option<SentSignal>,
}

enum State<'a> {
    /// Not polled yet.
    Begin(&'a PendingCalls, Box<Message>),
    InFlight(InFlight<'a>),
    Ended,
}

/// A call whose request is sent, or is being sent.
struct InFlight<'a> {
    call: PendingCall<'a>,
    /// The sending, until it is done.
    sending: Option<Sending<'a>>,
    deadline: Deadline,
    is_at_most_once: bool,
}

impl<'a> Exchange<'a> {
    /// Creates the exchange of a message, which is sent at the first poll.
    pub(super) fn new(
        sender: &'a Sender,
        pending: &'a PendingCalls,
        message: Box<Message>,
        sent_signal: Option<SentSignal>,
    ) -> Self {
        Self { sender, state: State::Begin(pending, message), sent_signal }
    }

    /// Adds the call to the table, and sends the request.
    fn begin(&mut self, cx: &Context<'_>) -> Result<()> {
        let State::Begin(pending, mut message) = std::mem::replace(&mut self.state, State::Ended)
        else {
            return Ok(());
        };
        let deadline = message.deadline.unwrap_or_else(|| Deadline::after(DEFAULT_TIMEOUT));
        let is_at_most_once = message.at_most_once;
        let call = pending.open(message.method.clone(), deadline, cx.waker())?;
        message.id = Some(call.id());
        // The signal of a send is for a caller that waits for the send alone.
        let sending = Some(match self.sent_signal {
            Some(_) => self.sender.send_boxed(message),
            None => self.sender.send_call(message),
        });
        self.state = State::InFlight(InFlight { call, sending, deadline, is_at_most_once });
        Ok(())
    }
}

impl Future for Exchange<'_> {
    type Output = CallEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CallEnd> {
        let this = &mut *self;
        if matches!(this.state, State::Begin(..))
            && let Err(error) = this.begin(cx)
        {
            return Poll::Ready(Some(Err(error)));
        }
        let State::InFlight(in_flight) = &mut this.state else { return Poll::Pending };
        let end = ready!(in_flight.poll(this.sent_signal.as_ref(), cx));
        let end = in_flight.end(end);
        if end.is_none() {
            this.sender.expire(in_flight.call.id());
        }
        this.state = State::Ended;
        Poll::Ready(end)
    }
}

impl InFlight<'_> {
    /// Polls the sending and the reply. A reply may overtake the confirm of its request.
    fn poll(&mut self, sent_signal: Option<&SentSignal>, cx: &mut Context<'_>) -> Poll<CallEnd> {
        if let Some(sending) = &mut self.sending
            && let Poll::Ready(sent) = Pin::new(sending).poll(cx)
        {
            self.sending = None;
            match sent {
                Ok(()) => sent_signal.into_iter().for_each(SentSignal::raise),
                // If the connection is lost after the request and the reply have crossed it, the
                // send fails and the call succeeds. Once the deadline has passed, the error of the
                // send is still the better reason.
                Err(error) => {
                    let end = self.call.take_end().flatten();
                    return Poll::Ready(Some(end.unwrap_or(Err(error))));
                }
            }
        }
        // A reply takes part in the budget of the task.
        let budget = ready!(poll_proceed(cx));
        let end = ready!(self.call.poll_end(cx));
        budget.made_progress();
        Poll::Ready(end)
    }

    fn end(&self, end: CallEnd) -> CallEnd {
        match end {
            Some(Err(error)) if self.is_at_most_once && is_outcome_lost(&error) => {
                Some(Ok(Box::new(Message::failed(interrupted()))))
            }
            end => end,
        }
    }
}

/// Returns whether an error leaves open if the call was run.
fn is_outcome_lost(error: &Error) -> bool {
    let is_lost = matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::RepliesLost);
    is_lost && !error.is_unsent()
}

/// Cancels the call that ends before its reply, because its caller drops it.
impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        // Before the call leaves the table: one that was dropped and is not in flight any more is
        // cancelled then. One that has expired is cancelled when its caller is polled again.
        if let State::InFlight(InFlight { call, deadline, .. }) = &self.state {
            match deadline.is_expired() {
                true => self.sender.expire(call.id()),
                false => self.sender.abandon(call.id()),
            }
        }
    }
}
