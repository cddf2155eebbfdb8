//! The untyped client: a service that sends requests and matches their replies.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::task::coop::poll_proceed;
use tokio::time::timeout_at;

use super::exchange::Exchange;
use super::pending_call_expiry::expire_calls;
use super::pending_calls::CallEnd;
use super::reply_reader::{ClientStats, ReplyReader};
use super::service_wait::until_served;
use super::slow_call_log::{SLOW_AFTER, log_slow_calls};
use crate::context::propagate;
use crate::error::{CallError, Code, Error, Result};
use crate::message::{Address, Deadline, Message, MessageId};
use crate::service::{Reply, Request, SentSignal, Service};
use crate::transport::{
    Capabilities, DEFAULT_TIMEOUT, Sender, Transport, WireKind, log_received, log_sent,
};

/// The client of a service as a [`Service`], without types: the innermost service of a
/// [`Client`](crate::Client).
///
/// Clones share one connection and one table of in-flight calls. Dropping the last clone closes
/// the connection.
#[derive(Clone)]
pub struct Requester(Arc<Inner>);

struct Inner {
    service: Address,
    sender: Sender,
    replies: Arc<ReplyReader>,
    /// The task that reads the replies, and the task that ends calls at their deadlines.
    tasks: [AbortHandle; 2],
    /// The runtime of the tasks. It may stand still while a caller in another one goes on.
    runtime: tokio::runtime::Id,
    capabilities: Capabilities,
    /// The number of times that a request is sent when servers decline it.
    sends_max: u32,
}

impl Requester {
    /// The default maximum number of in-flight calls: 131,072.
    pub const DEFAULT_PENDING_MAX: usize = 1 << 17;

    /// Opens a requester of `service` for at most `pending_max` in-flight calls, but at least one.
    /// Calls that wait for longer than 5 seconds are logged; see
    /// [`ClientConnect::slow_after`](super::ClientConnect::slow_after).
    ///
    /// # Errors
    ///
    /// The error of the transport's [`requester`](Transport::requester).
    pub async fn open<T: Transport>(
        transport: &T,
        service: Address,
        pending_max: usize,
    ) -> Result<Self> {
        Self::open_watched(transport, service, pending_max, Some(SLOW_AFTER)).await
    }

    /// Opens a requester that warns of calls which wait for longer than `slow_after`.
    pub(super) async fn open_watched<T: Transport>(
        transport: &T,
        service: Address,
        pending_max: usize,
        slow_after: Option<Duration>,
    ) -> Result<Self> {
        let (sender, receiver) = transport.requester(&service).await?;
        let sender = log_sent(sender, WireKind::Request, &service);
        let receiver = log_received(receiver, WireKind::Reply, &service);
        let replies = Arc::new(ReplyReader::new(pending_max.max(1)));
        // The requester owns the tasks, and aborts them when dropped.
        let reading = tokio::spawn(replies.clone().run(receiver, sender.clone())).abort_handle();
        let expiring = tokio::spawn(expire_calls(replies.pending().clone())).abort_handle();
        let tasks = [reading, expiring];
        if let Some(after) = slow_after {
            // The task ends soon after the table is dropped.
            let pending = Arc::downgrade(replies.pending());
            let health = transport.health_of(&service);
            tokio::spawn(log_slow_calls(pending, service.clone(), after, health));
        }
        let capabilities = transport.capabilities();
        let sends_max = if capabilities.declining { 1 } else { SENDS_MAX };
        let runtime = Handle::current().id();
        let inner = Inner { service, sender, replies, tasks, runtime, capabilities, sends_max };
        Ok(Self(Arc::new(inner)))
    }

    /// Returns the service that is called.
    #[must_use]
    pub fn service(&self) -> &Address {
        &self.0.service
    }

    /// Returns the counters of the client.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        self.0.replies.stats()
    }
}

impl Service for Requester {
    fn call(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send {
        CallFuture {
            requester: &self.0,
            is_oneway: request.oneway,
            state: CallState::Begin(request),
        }
    }

    fn keeps_deadlines(&self) -> bool {
        true
    }
}

/// The future of a call. By hand, as that of the exchange.
struct CallFuture<'a> {
    requester: &'a Inner,
    is_oneway: bool,
    state: CallState<'a>,
}

enum CallState<'a> {
    /// Not polled yet.
    Begin(Request),
    Exchange(Exchange<'a>),
    /// Boxed, so that other calls do not embed it.
    Rare(BoxFuture<'a, Result<Reply, CallError>>),
    /// The outcome, while it waits for the budget of the task.
    Ended(Option<Result<Reply, CallError>>),
}

impl Future for CallFuture<'_> {
    type Output = Result<Reply, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if matches!(this.state, CallState::Begin(_)) {
            let begun = std::mem::replace(&mut this.state, CallState::Ended(None));
            if let CallState::Begin(request) = begun {
                this.state = this.requester.begin(request);
            }
        }
        let outcome = match &mut this.state {
            CallState::Begin(_) => return Poll::Pending,
            CallState::Exchange(exchange) => reply(ready!(Pin::new(exchange).poll(cx))),
            CallState::Rare(call) => ready!(call.as_mut().poll(cx)),
            CallState::Ended(outcome) => match outcome.take() {
                Some(outcome) => outcome,
                None => return Poll::Pending,
            },
        };
        this.state = CallState::Ended(None);
        // A reply takes part in the budget of its task; a failure and a one-way call may not.
        if this.is_oneway || outcome.is_err() {
            let Poll::Ready(budget) = poll_proceed(cx) else {
                this.state = CallState::Ended(Some(outcome));
                return Poll::Pending;
            };
            budget.made_progress();
        }
        Poll::Ready(outcome)
    }
}

/// Converts the end of a call.
fn reply(end: CallEnd) -> Result<Reply, CallError> {
    match end {
        Some(reply) => Ok(Reply::from(reply?)),
        None => Err(CallError::deadline_exceeded()),
    }
}

/// Returns the reply to a one-way call.
fn empty_reply(sent: Result<()>) -> Result<Reply, CallError> {
    sent?;
    Ok(Reply::default())
}

impl Inner {
    /// Begins a call: checks it, and chooses the way of its request.
    fn begin(&self, request: Request) -> CallState<'_> {
        self.try_begin(request).unwrap_or_else(|error| CallState::Ended(Some(Err(error))))
    }

    fn try_begin(&self, request: Request) -> Result<CallState<'_>, CallError> {
        let deadline = request.wait_until().unwrap_or_else(|| Deadline::after(DEFAULT_TIMEOUT));
        let waits_for_service = request.wait_for_service;
        let Request { mut message, oneway, idempotent, at_most_once, sent_signal, .. } = request;
        message.at_most_once |= at_most_once;
        message.idempotent = (message.idempotent || idempotent) && !message.at_most_once;
        if deadline.is_expired() {
            return Err(CallError::deadline_exceeded());
        }
        self.check_capabilities(&message)?;
        if oneway {
            message.message_id.get_or_insert_with(MessageId::unique);
            propagate(&mut message);
            return Ok(self.send_oneway(message, deadline, waits_for_service));
        }
        (message.deadline, message.keep_expired) = (Some(deadline), false);
        // One that runs at most once is not begun again, though it was declined.
        let sends_max = if message.at_most_once { 1 } else { self.sends_max };
        let has_tasks = Handle::try_current().is_ok_and(|caller| caller.id() == self.runtime);
        if !waits_for_service && sends_max == 1 && has_tasks {
            return Ok(CallState::Exchange(self.exchange(message, sent_signal)));
        }
        Ok(CallState::Rare(Box::pin(async move {
            let is_at_most_once = message.at_most_once;
            let exchange =
                || self.exchange_until_accepted(message.clone(), sent_signal.clone(), sends_max);
            if !waits_for_service {
                let Ok(end) = timeout_at(deadline.instant(), exchange()).await else {
                    return Err(CallError::deadline_exceeded());
                };
                return reply(end);
            }
            let accepted = until_served(is_at_most_once, || exchange().map(Option::transpose));
            match timeout_at(deadline.instant(), accepted).await {
                Ok(accepted) => reply(accepted.transpose()),
                Err(_) => Err(CallError::deadline_exceeded()),
            }
        })))
    }

    /// Sends a one-way call, which ends when the backend has it.
    fn send_oneway(
        &self,
        message: Box<Message>,
        deadline: Deadline,
        waits_for_service: bool,
    ) -> CallState<'_> {
        if !waits_for_service {
            return match self.sender.send_at_once(*message) {
                Ok(sent) => CallState::Ended(Some(empty_reply(sent))),
                Err(sending) => CallState::Rare(Box::pin(async move {
                    empty_reply(self.sender.sent_within(sending, deadline.remaining()).await)
                })),
            };
        }
        CallState::Rare(Box::pin(async move {
            let is_at_most_once = message.at_most_once;
            let sending = until_served(is_at_most_once, || self.sender.send_boxed(message.clone()));
            match timeout_at(deadline.instant(), sending).await {
                Ok(sent) => empty_reply(sent),
                Err(_) => Err(CallError::deadline_exceeded()),
            }
        }))
    }

    /// Fails if the transport lacks what the options of the message need.
    fn check_capabilities(&self, message: &Message) -> Result<()> {
        if message.priority.is_some() && !self.capabilities.priorities {
            return Err(Error::lacking("CallBuilder::priority", "priorities"));
        }
        if message.keep_expired && !self.capabilities.dead_letters {
            return Err(Error::lacking("CallBuilder::keep_expired", "dead_letters"));
        }
        Ok(())
    }

    /// Sends a request and waits for the reply. Where the transport does not forward declined
    /// requests to other servers, sends the request again while servers decline it.
    async fn exchange_until_accepted(
        &self,
        message: Box<Message>,
        sent_signal: Option<SentSignal>,
        sends_max: u32,
    ) -> CallEnd {
        for _ in 1..sends_max {
            let end = self.exchange(message.clone(), sent_signal.clone()).await;
            let is_declined = |reply: &Message| {
                reply.fault.as_ref().is_some_and(|fault| fault.code == Code::Declined)
            };
            if !matches!(&end, Some(Ok(reply)) if is_declined(reply)) {
                return end;
            }
            tracing::debug!("a server declined the request; it is sent again");
        }
        self.exchange(message, sent_signal).await
    }

    /// Sends a request as a new call, and waits for the reply.
    fn exchange(&self, message: Box<Message>, sent_signal: Option<SentSignal>) -> Exchange<'_> {
        Exchange::new(&self.sender, self.replies.pending(), message, sent_signal)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// The number of times that a request is sent when servers decline it. The requester does not know
/// which server declined, so it cannot stop after each has declined once.
const SENDS_MAX: u32 = 8;

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requester").field("service", self.service()).finish_non_exhaustive()
    }
}
