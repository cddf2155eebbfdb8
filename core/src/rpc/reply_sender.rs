//! Sending the replies of a server, and the outcome of a request whose reply cannot be sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytestring::ByteString;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::server_stats::ServerCounters;
use crate::error::{Code, Error, ErrorKind, Fault, Result};
use crate::message::{CallId, Message, ReplyTo};
use crate::panic_containment::{Panicked, catch, contain};
use crate::service::{AtMostOnceGate, CallFacts, ReplySlot, SlotServer};
use crate::transport::{Answer, LogThrottle, OnSent, Outcome, Receipt, Sender, Sending};
use crate::worker::{DeliveryScope, EndpointLabel, in_delivery};

/// The sender of a server's replies. It decides how a request is settled when its reply fails.
pub(super) struct ReplySender {
    label: EndpointLabel,
    /// Shared with the slots of the requests.
    server: Arc<SlotServer>,
    counters: Arc<ServerCounters>,
    /// Throttle for the log line of replies that cannot be sent.
    failures: LogThrottle,
    /// The number of requests that the backend settles when their replies are sent.
    unsettled: AtomicUsize,
    /// Signal that there are no more such requests.
    all_settled: Notify,
}

impl ReplySender {
    /// Creates the sender of the replies of the server `label`.
    pub(super) fn new(label: EndpointLabel, sender: Sender, counters: Arc<ServerCounters>) -> Self {
        let service = label.name.clone();
        let server = Arc::new(SlotServer { service, sender, questions: Arc::default() });
        Self {
            label,
            server,
            counters,
            failures: LogThrottle::new(),
            unsettled: AtomicUsize::new(0),
            all_settled: Notify::new(),
        }
    }

    /// Creates the slot of a request that passes `gate`.
    #[inline]
    pub(super) fn slot(
        &self,
        facts: CallFacts,
        content_type: Option<ByteString>,
        gate: AtMostOnceGate,
    ) -> Arc<ReplySlot> {
        ReplySlot::new(self.server.clone(), facts, content_type, gate)
    }

    /// Passes the answer of a caller to the request that waits for it.
    pub(super) fn permit(&self, answer: Answer) {
        self.server.questions.answer(answer);
    }

    /// Sends a reply to the call with this id and this address. Returns the outcome that its
    /// request is to be settled with.
    ///
    /// A reply that can never be sent, for instance a reply that is too large, is replaced by a
    /// fault. Another attempt at the request would end in the same way.
    pub(super) async fn send(
        &self,
        mut reply: Box<Message>,
        (id, reply_to): (Option<CallId>, &ReplyTo),
    ) -> Outcome {
        (reply.id, reply.reply_to) = (id, Some(reply_to.clone()));
        let sent = self.try_send(reply).await;
        self.outcome(sent, (id, reply_to)).await
    }

    /// Sends a reply like [`send`](Self::send). A backend that takes over the settlement takes the
    /// receipt as well, and settles the request when the result of the send is known. Then the
    /// returned outcome is without meaning.
    pub(super) async fn send_and_settle(
        self: &Arc<Self>,
        mut reply: Box<Message>,
        (id, reply_to): (Option<CallId>, &ReplyTo),
        receipt: &mut Receipt,
    ) -> Outcome {
        (reply.id, reply.reply_to) = (id, Some(reply_to.clone()));
        let sending = {
            let mut then = || {
                let receipt = std::mem::replace(receipt, Receipt::none());
                SentReply::new(self.clone(), receipt, (id, reply_to.clone())).on_sent()
            };
            catch(|| self.server.sender.send_then_at_once(reply, &mut then))
        };
        let sent = finished(sending).await;
        if !receipt.is_some() {
            return Outcome::Ack;
        }
        self.outcome(sent, (id, reply_to)).await
    }

    /// Returns the outcome for a request from the result of sending its reply. Sends a fault in
    /// place of a reply that can never be sent, or that may have been sent or not.
    async fn outcome(
        &self,
        sent: Result<()>,
        (id, reply_to): (Option<CallId>, &ReplyTo),
    ) -> Outcome {
        let Err(error) = sent else {
            return self.sent();
        };
        let is_too_late = matches!(error.kind(), ErrorKind::Unroutable);
        if is_too_late || is_connection_lost(&error) {
            return self.failed(&error);
        }
        // The method has run. A reply that the transport refused for a passing reason may have
        // arrived all the same, and then the fault comes too late.
        let code = match error.kind() {
            ErrorKind::Rejected | ErrorKind::DeadlineExceeded | ErrorKind::Overloaded => {
                Code::Interrupted
            }
            _ => Code::Internal,
        };
        let fault = Fault::new(code, format!("cannot send the reply: {error}"));
        let reply_to = Some(reply_to.clone());
        let reply = Box::new(Message { id, reply_to, ..Message::failed(fault) });
        // Boxed so that other replies do not embed it.
        match Box::pin(self.try_send(reply)).await {
            Ok(()) => self.sent(),
            Err(error) => self.failed(&error),
        }
    }

    /// Sends a reply. A transport that panics has failed to.
    async fn try_send(&self, reply: Box<Message>) -> Result<()> {
        finished(catch(|| self.server.sender.send_boxed_at_once(reply))).await
    }

    /// Waits until all requests are settled whose settlement the backend has taken over.
    pub(super) async fn settled(&self) {
        loop {
            let changed = self.all_settled.notified();
            if self.unsettled.load(Ordering::Acquire) == 0 {
                return;
            }
            changed.await;
        }
    }

    fn sent(&self) -> Outcome {
        self.counters.answered.increment();
        Outcome::Ack
    }

    /// Requeues the request if the connection is lost. Otherwise running the request again helps
    /// no caller.
    fn failed(&self, error: &Error) -> Outcome {
        self.counters.undelivered.increment();
        if let Some(count) = self.failures.note() {
            let service = &self.label.name;
            in_delivery(|| tracing::warn!(%service, ?error, count, "cannot send replies"));
        }
        if is_connection_lost(error) { Outcome::Requeue } else { Outcome::Ack }
    }
}

/// Waits for a send that is not done at once, as most are. A transport that panics has failed to.
async fn finished(begun: Result<Result<Result<()>, Sending<'_>>, Panicked>) -> Result<()> {
    let failed = |panic| {
        let error = Error::new(ErrorKind::Codec, "cannot send: the transport panicked");
        Err(error.with("panic", panic))
    };
    match begun {
        Ok(Ok(sent)) => sent,
        Ok(Err(sending)) => contain(sending).await.unwrap_or_else(failed),
        Err(panic) => failed(panic),
    }
}

/// A reply that the backend sends, and whose request it settles.
struct SentReply {
    receipt: Receipt,
    /// The call, and the address of its caller.
    call: (Option<CallId>, ReplyTo),
    /// The delivery, for the log.
    delivery: Option<DeliveryScope>,
    runtime: Handle,
    /// Last, so that the request is settled before it stops to count.
    unsettled: Unsettled,
}

impl SentReply {
    fn new(replies: Arc<ReplySender>, receipt: Receipt, call: (Option<CallId>, ReplyTo)) -> Self {
        let (delivery, runtime) = (DeliveryScope::current(), Handle::current());
        Self { receipt, call, delivery, runtime, unsettled: Unsettled::new(replies) }
    }

    /// Returns the function that settles the request. A reply that could not be sent is dealt with
    /// in a task of its own.
    fn on_sent(self) -> OnSent {
        Box::new(move |sent| {
            if sent.is_ok() {
                let Self { receipt, unsettled, .. } = self;
                receipt.settle(unsettled.0.sent());
                return;
            }
            let runtime = self.runtime.clone();
            drop(runtime.spawn(async move {
                let Self { receipt, call: (id, reply_to), delivery, unsettled, .. } = self;
                let outcome = unsettled.0.outcome(sent, (id, &reply_to));
                let outcome = match delivery {
                    Some(delivery) => delivery.run(outcome).await,
                    None => outcome.await,
                };
                receipt.settle(outcome);
            }));
        })
    }
}

/// A guard that counts a request as unsettled.
struct Unsettled(Arc<ReplySender>);

impl Unsettled {
    fn new(replies: Arc<ReplySender>) -> Self {
        replies.unsettled.fetch_add(1, Ordering::AcqRel);
        Self(replies)
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        if self.0.unsettled.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.all_settled.notify_waiters();
        }
    }
}

fn is_connection_lost(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Closed)
}
