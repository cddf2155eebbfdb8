//! The propagation of the running handler's context into messages that the handler sends.

use bytestring::ByteString;

use super::{Baggage, CallStack, Context};
use crate::message::{Deadline, Message};

/// The headers of W3C's trace context.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

impl Context {
    /// Ends a call by the deadline of this context, unless the handler goes on without its caller.
    fn limit_deadline(&self, deadline: &mut Deadline) {
        let is_awaited = !self.reply_slot.as_ref().is_some_and(|slot| slot.outlives_caller());
        if let (Some(ours), true) = (self.deadline, is_awaited) {
            *deadline = ours.min(*deadline);
        }
    }

    /// Writes the propagated headers of this context into a message before it is sent.
    fn propagate(&self, message: &mut Message) {
        for name in TRACE {
            if let (Some(value), None) = (self.headers.get(name), message.headers.get(name)) {
                message.headers.insert(ByteString::from_static(name), value);
            }
        }
        Baggage::propagate(&self.headers, &mut message.headers);
        if !self.is_outside() {
            message
                .headers
                .insert(ByteString::from_static(CallStack::HEADER), self.call_stack().to_string());
        }
    }
}

/// Writes the propagated headers of the running handler's context into a message before it is sent.
/// Does nothing outside of a handler.
pub(crate) fn propagate(message: &mut Message) {
    Context::with_current(|context| context.propagate(message));
}

/// Ends a call by the deadline of the running handler. Does nothing outside of a handler.
///
/// Only calls that the handler awaits inherit the deadline. A one-way call is work of its own,
/// which goes on after the handler has ended.
pub(crate) fn limit_deadline(deadline: &mut Deadline) {
    Context::with_current(|context| context.limit_deadline(deadline));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Address, CallId};

    fn context() -> Context {
        let mut message =
            Message::request(Address::new("orders.create").unwrap(), Deadline::after_ms(1_000));
        message.id = Some(CallId(7));
        message.headers.insert("traceparent", "00-1-2-01");
        message.headers.insert("secret", "stays");
        Context::of(&message, 1)
    }

    #[tokio::test(start_paused = true)]
    async fn messages_of_a_handler_carry_its_context() {
        let outgoing =
            || Message::request(Address::new("charge").unwrap(), Deadline::after_ms(30_000));
        let mut message = outgoing();
        let mut deadline = Deadline::after_ms(30_000);
        propagate(&mut message);
        limit_deadline(&mut deadline);
        assert_eq!((deadline.remaining_ms(), message.headers.len()), (30_000, 0));
        let message = context()
            .carry(async move {
                propagate(&mut message);
                limit_deadline(&mut deadline);
                assert_eq!(deadline.remaining_ms(), 1_000);
                message
            })
            .await;
        assert_eq!(message.deadline.unwrap().remaining_ms(), 30_000, "not of an awaited call");
        assert_eq!(message.headers.get("traceparent"), Some("00-1-2-01"));
        assert_eq!(message.headers.get("secret"), None);
        assert!(message.headers.get("call-id-stack").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn earlier_deadline_and_own_trace_are_kept() {
        let message = context()
            .carry(async {
                let mut message =
                    Message::request(Address::new("charge").unwrap(), Deadline::after_ms(10));
                message.headers.insert("traceparent", "00-3-4-01");
                propagate(&mut message);
                let mut deadline = Deadline::after_ms(10);
                limit_deadline(&mut deadline);
                assert_eq!(deadline.remaining_ms(), 10);
                message
            })
            .await;
        assert_eq!(message.headers.get("traceparent"), Some("00-3-4-01"));
    }
}
