//! Sending half of a requester or pusher: checks, encodes and sends messages of one role.

use std::borrow::BorrowMut;
use std::sync::Arc;

use polywire_core::message::CallId;
use polywire_core::transport::{Outbound, Sending};
use polywire_core::{Deadline, Limits, Message};

use super::balancer::Balancer;
use super::in_flight_call::InFlightCall;
use crate::common_errors::closed;
use crate::wire::{self, Frames, MessageRole};

/// A sender of messages of one role, over the connections of a balancer.
///
/// A send that finds room is complete when the call returns, without a box or a task. Otherwise the
/// returned future waits, see [`Balancer::send`]. A message is unsent if this future is dropped
/// before it resolves.
pub(crate) struct BalancedSender {
    /// The balancer, which lives as long as a sender or its reply stream. The transport holds a
    /// weak reference.
    balancer: Arc<Balancer>,
    /// The role of all messages: requests to a service, or jobs of a queue.
    role: MessageRole,
    /// Limits on message sizes, checked before encoding.
    limits: Limits,
}

impl BalancedSender {
    /// Creates a sender over the connections of a balancer.
    pub(crate) fn new(balancer: Arc<Balancer>, role: MessageRole) -> Self {
        let limits = *balancer.limits();
        Self { balancer, role, limits }
    }

    /// Checks, encodes and sends a message, boxed or not.
    fn send_any(&self, message: impl BorrowMut<Message>) -> Sending<'_> {
        if self.balancer.is_closed() {
            return Sending::ready(Err(closed()));
        }
        let (is_one_way, call) = {
            let message: &Message = message.borrow();
            if let Err(error) = self.limits.check(message) {
                return Sending::ready(Err(error));
            }
            let call = InFlightCall::new(message.id, message.deadline, message.idempotent)
                .at_most_once(message.at_most_once);
            (message.id.is_none(), call)
        };
        // A job, or a one-way call.
        if is_one_way {
            self.balancer.note_one_way();
        }
        let frames = match wire::encode(&self.role, message, &self.limits) {
            Ok(frames) => frames,
            Err(error) => return Sending::ready(Err(error)),
        };
        match self.balancer.send_now(&call, frames) {
            Ok(()) => Sending::ready(Ok(())),
            Err(frames) => Sending::later(self.balancer.send(call, frames)),
        }
    }

    /// Encodes the cancellation of a call. `None` if the role is not that of requests: jobs cannot
    /// be cancelled.
    ///
    /// If the call `is_expired`, the cancel has a deadline of 0 ms. The server then counts the call
    /// as expired, see "Behavior" in `docs/wire-native.md`.
    fn cancellation(&self, id: CallId, is_expired: bool) -> Option<Frames> {
        let MessageRole::Request(service) = &self.role else { return None };
        let mut message = Message::default();
        message.id = Some(id);
        message.deadline = is_expired.then(|| Deadline::after_ms(0));
        wire::encode(&MessageRole::Cancel(service.clone()), message, &self.limits).ok()
    }
}

impl Outbound for BalancedSender {
    /// Checks, encodes and sends a message. The result is ready on return if the message was handed
    /// over or refused.
    ///
    /// # Errors
    ///
    /// All of them are unsent:
    ///
    /// - `Closed` if the balancer is closed or its runtime has ended;
    ///
    /// - `TooLarge` for a message beyond the limits, and `Config` for a reserved header name;
    ///
    /// - the errors of [`Balancer::send`].
    fn send(&self, message: Message) -> Sending<'_> {
        self.send_any(message)
    }

    /// Sends a message from its box; see [`send`](Self::send).
    fn send_boxed(&self, message: Box<Message>) -> Sending<'_> {
        self.send_any(message)
    }

    /// Returns true: a send waits before it hands the message over, and not after.
    fn is_unsent_when_dropped(&self) -> bool {
        true
    }

    /// Removes a call, and sends its server a cancel. Without room the cancel is dropped, and the
    /// server works until the deadline.
    fn abandon(&self, id: CallId) {
        self.balancer.abandon(id, || self.cancellation(id, false));
    }

    /// Abandons a call in the same way. The cancel says that the deadline has passed.
    fn expire(&self, id: CallId) {
        self.balancer.abandon(id, || self.cancellation(id, true));
    }
}
