//! Sending the replies of a server.

use std::sync::Arc;

use super::server_stats::ServerCounters;
use crate::contained::contain;
use crate::error::{Code, Error, ErrorKind, Fault, Result};
use crate::message::{Message, ReplyTo};
use crate::service::{Gate, Permissions, ReplySlot};
use crate::transport::{Answer, LogThrottle, Outcome, Sender};
use crate::worker::{EndpointLabel, in_delivery};

/// The sender of a server's replies. It decides how a request is settled when its reply fails.
pub(super) struct ReplySender {
    label: EndpointLabel,
    sender: Sender,
    counters: Arc<ServerCounters>,
    /// Throttle for the log line of replies that cannot be sent.
    failures: LogThrottle,
    /// The questions to callers whose calls run at most once.
    permissions: Arc<Permissions>,
}

impl ReplySender {
    /// Creates the sender of the replies of the server `label`.
    pub(super) fn new(label: EndpointLabel, sender: Sender, counters: Arc<ServerCounters>) -> Self {
        let failures = LogThrottle::new();
        Self { label, sender, counters, failures, permissions: Arc::default() }
    }

    /// Creates the slot of a request that passes `gate`.
    pub(super) fn slot(
        &self,
        request: &Message,
        reply_to: Option<ReplyTo>,
        gate: Gate,
    ) -> ReplySlot {
        ReplySlot::new(self.sender.clone(), request, reply_to, gate, self.permissions.clone())
    }

    /// Passes the answer of a caller to the request that waits for it.
    pub(super) fn permit(&self, answer: Answer) {
        self.permissions.answer(answer);
    }

    /// Sends a reply. Returns the outcome that its request is to be settled with.
    ///
    /// A reply that can never be sent, for instance a reply that is too large, is replaced by a
    /// fault. Another attempt at the request would end in the same way.
    pub(super) async fn send(&self, reply: Box<Message>) -> Outcome {
        let (id, reply_to) = (reply.id, reply.reply_to.clone());
        let Err(error) = self.try_send(reply).await else {
            return self.sent();
        };
        let is_too_late = matches!(error.kind(), ErrorKind::Unroutable);
        if is_too_late || is_connection_lost(&error) {
            return self.failed(&error);
        }
        let fault = Fault::new(Code::Internal, format!("cannot send the reply: {error}"));
        let reply = Box::new(Message { id, reply_to, ..Message::failed(fault) });
        // Boxed so that other replies do not embed it.
        match Box::pin(self.try_send(reply)).await {
            Ok(()) => self.sent(),
            Err(error) => self.failed(&error),
        }
    }

    /// Sends a reply. A transport that panics has failed to.
    async fn try_send(&self, reply: Box<Message>) -> Result<()> {
        contain(async { self.sender.send_boxed(reply).await }).await.unwrap_or_else(|panic| {
            let error = Error::new(ErrorKind::Codec, "cannot send: the transport panicked");
            Err(error.with("panic", panic))
        })
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

fn is_connection_lost(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Closed)
}
