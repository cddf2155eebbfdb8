//! The raw calling end: requests out, each matched with its reply.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use tokio::task::AbortHandle;
use tokio::time::timeout_at;

use super::DEFAULT_TIMEOUT;
use super::pending_calls::{PendingCall, PendingCalls};
use crate::context::propagate;
use crate::error::{CallError, Code, Error, ErrorKind, Result};
use crate::message::{Address, CallId, Deadline, Message};
use crate::service::HandedOver;
use crate::service::{Reply, Request, Service};
use crate::transport::Transport;
use crate::transport::{Receiver, Sender, Sending};

/// The calling end of a service as a [`Service`]: what a [`Client`](crate::Client) calls in the
/// end, without types.
///
/// Clones share one end and one table of calls in flight. When the last one is dropped, the end is
/// closed.
#[derive(Clone)]
pub struct Requester(Arc<Inner>);

struct Inner {
    service: Address,
    sender: Sender,
    inbox: Arc<ReplyReader>,
    reader: AbortHandle,
    knows_priorities: bool,
    /// How often a request is sent that servers decline.
    declines_max: u32,
}

/// What the reading task shares with the callers.
struct ReplyReader {
    pending: Arc<PendingCalls>,
    late_replies: AtomicU64,
    bad_replies: AtomicU64,
}

impl Requester {
    /// Calls in flight at once, unless said otherwise. The default is 131,072.
    pub const DEFAULT_PENDING_MAX: usize = 1 << 17;

    /// Opens the calling end of `service`, for at most `pending_max` calls in flight.
    ///
    /// # Errors
    ///
    /// What the transport's [`requester`](Transport::requester) says.
    pub async fn open<T: Transport>(
        transport: &T,
        service: Address,
        pending_max: usize,
    ) -> Result<Self> {
        let (sender, receiver) = transport.requester(&service).await?;
        let inbox = Arc::new(ReplyReader {
            pending: Arc::new(PendingCalls::new(pending_max)),
            late_replies: AtomicU64::new(0),
            bad_replies: AtomicU64::new(0),
        });
        // Owned by the requester, which stops it when it goes.
        let reader = tokio::spawn(inbox.clone().read(receiver)).abort_handle();
        let can = transport.capabilities();
        let declines_max = if can.declining { 1 } else { DECLINES_MAX };
        let knows_priorities = can.priorities;
        Ok(Self(Arc::new(Inner { service, sender, inbox, reader, knows_priorities, declines_max })))
    }

    /// The service that is called.
    #[must_use]
    pub fn service(&self) -> &Address {
        &self.0.service
    }

    /// What the end has counted so far.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        let inbox = &self.0.inbox;
        ClientStats {
            in_flight: inbox.pending.len(),
            late_replies: inbox.late_replies.load(Ordering::Relaxed),
            bad_replies: inbox.bad_replies.load(Ordering::Relaxed),
        }
    }
}

impl Service for Requester {
    async fn call(&self, request: Request) -> Result<Reply, CallError> {
        let Request { mut message, oneway, idempotent, handed_over, .. } = request;
        message.idempotent |= idempotent;
        let deadline = *message.deadline.get_or_insert_with(|| Deadline::after(DEFAULT_TIMEOUT));
        if deadline.is_expired() {
            return Err(CallError::deadline_exceeded());
        }
        if message.priority.is_some() && !self.0.knows_priorities {
            return Err(Error::unsupported("priorities").into());
        }
        if oneway {
            propagate(&mut message);
            self.0.sender.send_within(message, deadline.remaining()).await?;
            return Ok(Reply::default());
        }
        let exchange = self.0.exchange_until_taken(message, deadline, handed_over);
        match timeout_at(deadline.instant(), exchange).await {
            Ok(reply) => Ok(Reply::from(reply?)),
            Err(_) => Err(CallError::deadline_exceeded()),
        }
    }
}

impl Inner {
    /// Sends a request, again and again while servers decline it, if the transport does not give it
    /// to another one by itself; then waits for the reply.
    async fn exchange_until_taken(
        &self,
        message: Message,
        deadline: Deadline,
        handed_over: Option<HandedOver>,
    ) -> Result<Message> {
        let handed_over = || handed_over.iter().for_each(HandedOver::tell);
        for _ in 1..self.declines_max {
            let reply = self.exchange(message.clone(), deadline, handed_over).await?;
            if reply.fault.as_ref().is_none_or(|fault| fault.code != Code::Declined) {
                return Ok(reply);
            }
            tracing::debug!("a server declined; the next one is asked");
        }
        self.exchange(message, deadline, handed_over).await
    }

    async fn exchange(
        &self,
        mut message: Message,
        deadline: Deadline,
        handed_over: impl Fn(),
    ) -> Result<Message> {
        let ticket = self.inbox.pending.open()?;
        let call = ticket.id();
        message.id = Some(call);
        let waiting = CancelOnDrop { sender: &self.sender, call, deadline };
        let reply = exchange(self.sender.send(message), ticket, handed_over).await;
        waiting.end();
        reply
    }
}

/// How often a request is sent in all that servers decline: they are not told apart, so this is
/// their bound.
const DECLINES_MAX: u32 = 8;

/// A caller that waits for the outcome of a call. Dropped before that is there, it says so to who
/// works on it; when the deadline has passed, they know.
struct CancelOnDrop<'a> {
    sender: &'a Sender,
    call: CallId,
    deadline: Deadline,
}

impl CancelOnDrop<'_> {
    fn end(self) {
        std::mem::forget(self);
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if !self.deadline.is_expired() {
            self.sender.abandon(self.call);
        }
    }
}

/// Sends, then waits for the reply. A reply may overtake the confirm of its request, so both are
/// awaited at once.
async fn exchange(
    sending: Sending<'_>,
    mut reply: PendingCall,
    handed_over: impl FnOnce(),
) -> Result<Message> {
    let sent = tokio::select! {
        biased;
        sent = sending => sent,
        reply = &mut reply => return reply,
    };
    match sent {
        Ok(()) => {
            handed_over();
            reply.await
        }
        // A link that is lost after all has gone over it fails the send, and not the call.
        Err(error) => reply.now_or_never().unwrap_or(Err(error)),
    }
}

impl ReplyReader {
    async fn read(self: Arc<Self>, mut receiver: Receiver) {
        while let Some(next) = receiver.next().await {
            match next {
                Ok(delivery) => {
                    self.take(delivery.message);
                    delivery.receipt.ack();
                }
                Err(error) => self.fail(error),
            }
        }
        self.pending.close(&Error::new(ErrorKind::Closed, "the transport is closed"));
    }

    fn take(&self, mut message: Message) {
        let taken = message.id.take().is_some_and(|id| self.pending.complete(id, Ok(message)));
        if !taken {
            self.late_replies.fetch_add(1, Ordering::Relaxed);
            tracing::debug!("dropped a reply that nobody waits for");
        }
    }

    fn fail(&self, error: Error) {
        match error.call() {
            Some(call) => {
                self.pending.complete(call, Err(error));
            }
            // The replies to whatever is in flight are lost with the link they would have come
            // over.
            None if matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::RepliesLost) => {
                self.pending.fail_all(&error);
            }
            None => {
                self.bad_replies.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(?error, "dropped a reply that cannot be read");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requester").field("service", self.service()).finish_non_exhaustive()
    }
}

/// What a calling end has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStats {
    /// Calls that wait for their outcome now.
    pub in_flight: usize,
    /// Replies that came when nobody waited for them any more.
    pub late_replies: u64,
    /// Replies that could not be read, and named no call.
    pub bad_replies: u64,
}
