//! The untyped client: a service that sends requests and matches their replies.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::AbortHandle;
use tokio::task::coop::consume_budget;
use tokio::time::timeout_at;

use super::pending_call_watchdog::{SLOW_AFTER, watch};
use super::pending_calls::{PendingCall, interrupted};
use super::reply_reader::{ClientStats, ReplyReader};
use super::service_wait::until_served;
use crate::context::propagate;
use crate::error::{CallError, Code, Error, ErrorKind, Result};
use crate::message::{Address, CallId, Deadline, Message, MessageId};
use crate::service::{Reply, Request, SentSignal, Service};
use crate::transport::{
    Capabilities, DEFAULT_TIMEOUT, Sender, Sending, Transport, WireKind, log_received, log_sent,
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
    /// The task that reads the replies.
    task: AbortHandle,
    capabilities: Capabilities,
    /// The number of times that a request is sent when servers decline it.
    sends_max: u32,
}

impl Requester {
    /// The default maximum number of in-flight calls: 131,072.
    pub const DEFAULT_PENDING_MAX: usize = 1 << 17;

    /// Opens a requester of `service` for at most `pending_max` in-flight calls. Calls that wait
    /// for longer than 5 seconds are logged; see
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
        let replies = Arc::new(ReplyReader::new(pending_max));
        // The requester owns the task, and aborts it when dropped.
        let task = tokio::spawn(replies.clone().run(receiver, sender.clone())).abort_handle();
        if let Some(after) = slow_after {
            // The task ends soon after the table is dropped.
            let pending = Arc::downgrade(replies.pending());
            tokio::spawn(watch(pending, service.clone(), after, transport.health()));
        }
        let capabilities = transport.capabilities();
        let sends_max = if capabilities.declining { 1 } else { SENDS_MAX };
        Ok(Self(Arc::new(Inner { service, sender, replies, task, capabilities, sends_max })))
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
    async fn call(&self, request: Request) -> Result<Reply, CallError> {
        let is_oneway = request.oneway;
        let outcome = self.0.call(request).await;
        // A reply takes part in the budget of its task; a failure and a one-way call may not.
        if is_oneway || outcome.is_err() {
            consume_budget().await;
        }
        outcome
    }
}

impl Inner {
    async fn call(&self, request: Request) -> Result<Reply, CallError> {
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
            if waits_for_service {
                let sending = until_served(|| self.sender.send_boxed(message.clone())).boxed();
                return match timeout_at(deadline.instant(), sending).await {
                    Ok(sent) => Ok(sent.map(|()| Reply::default())?),
                    Err(_) => Err(CallError::deadline_exceeded()),
                };
            }
            self.sender.send_within(*message, deadline.remaining()).await?;
            return Ok(Reply::default());
        }
        (message.deadline, message.keep_expired) = (Some(deadline), false);
        let exchange = async {
            if waits_for_service {
                let exchange =
                    || self.exchange_until_accepted(message.clone(), sent_signal.clone());
                return until_served(exchange).boxed().await;
            }
            self.exchange_until_accepted(message, sent_signal).await
        };
        match timeout_at(deadline.instant(), exchange).await {
            Ok(reply) => Ok(Reply::from(reply?)),
            Err(_) => Err(CallError::deadline_exceeded()),
        }
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
    ) -> Result<Box<Message>> {
        let on_sent = || sent_signal.iter().for_each(SentSignal::raise);
        // One that runs at most once is not begun again, though it was declined.
        let sends_max = if message.at_most_once { 1 } else { self.sends_max };
        for _ in 1..sends_max {
            let reply = self.exchange(message.clone(), on_sent).await?;
            if reply.fault.as_ref().is_none_or(|fault| fault.code != Code::Declined) {
                return Ok(reply);
            }
            tracing::debug!("a server declined the request; it is sent again");
        }
        self.exchange(message, on_sent).await
    }

    /// Sends a request as a new call, and waits for the reply.
    async fn exchange(
        &self,
        mut message: Box<Message>,
        on_sent: impl Fn(),
    ) -> Result<Box<Message>> {
        let call = self.replies.pending().open(message.method.clone())?;
        let is_at_most_once = message.at_most_once;
        message.id = Some(call.id());
        let (sender, deadline) = (&self.sender, message.deadline);
        let cancel = CancelOnDrop { sender, call: call.id(), deadline };
        let reply = send_and_wait(self.sender.send_boxed(message), call, on_sent).await;
        cancel.disarm();
        match reply {
            Err(error) if is_at_most_once && is_outcome_lost(&error) => {
                Ok(Box::new(Message::failed(interrupted())))
            }
            reply => reply,
        }
    }
}

/// Returns whether an error leaves open if the call was run.
fn is_outcome_lost(error: &Error) -> bool {
    let is_lost = matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::RepliesLost);
    is_lost && !error.is_unsent()
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The number of times that a request is sent when servers decline it. The requester does not know
/// which server declined, so it cannot stop after each has declined once.
const SENDS_MAX: u32 = 8;

/// A guard that cancels the call when it is dropped before the reply: because the caller drops the
/// call, or because its deadline has passed.
struct CancelOnDrop<'a> {
    sender: &'a Sender,
    call: CallId,
    deadline: Option<Deadline>,
}

impl CancelOnDrop<'_> {
    fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        match self.deadline.is_some_and(Deadline::is_expired) {
            true => self.sender.expire(self.call),
            false => self.sender.abandon(self.call),
        }
    }
}

/// Sends, then waits for the reply. A reply may overtake the confirm of its request, so the two
/// are awaited together.
async fn send_and_wait(
    sending: Sending<'_>,
    mut reply: PendingCall,
    on_sent: impl FnOnce(),
) -> Result<Box<Message>> {
    let sent = tokio::select! {
        biased;
        sent = sending => sent,
        reply = &mut reply => return reply,
    };
    match sent {
        Ok(()) => {
            on_sent();
            reply.await
        }
        // If the connection is lost after the request and the reply have crossed it, the send
        // fails and the call succeeds.
        Err(error) => reply.now_or_never().unwrap_or(Err(error)),
    }
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requester").field("service", self.service()).finish_non_exhaustive()
    }
}
