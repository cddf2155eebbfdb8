//! The context of the running handler, and its propagation into messages that the handler sends.

use std::future::Future;
use std::sync::Arc;

use bytestring::ByteString;

use super::{Baggage, CallStack, Context};
use crate::message::{Deadline, Message};
use crate::service::ReplySlot;

tokio::task_local! {
    /// Boxed, because the value is swapped in and out at each poll of the handler.
    static CURRENT: Box<Context>;
}

/// The headers of W3C's trace context.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

impl Context {
    /// Returns the context of the running handler; `None` outside of a handler.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|current| Self::clone(current)).ok()
    }

    /// Calls a function with the context of the running handler; `None` outside of a handler.
    pub(crate) fn with_current<T>(function: impl FnOnce(&Self) -> T) -> Option<T> {
        CURRENT.try_with(|current| function(current)).ok()
    }

    /// Returns the slot for the reply of the running handler.
    pub(crate) fn current_reply_slot() -> Option<Arc<ReplySlot>> {
        CURRENT.try_with(|current| current.reply_slot.clone()).ok().flatten()
    }

    /// Returns the context of the running handler without the slot for its reply; `None` if the
    /// handler has no slot.
    ///
    /// A service that the handler calls in its own process must not reply to the handler's caller.
    pub(crate) fn without_reply_slot() -> Option<Self> {
        let current = || CURRENT.with(|current| Self::clone(current));
        CURRENT
            .try_with(|current| current.reply_slot.is_some())
            .ok()?
            .then(|| Self { reply_slot: None, ..current() })
    }

    /// Returns the number of the running handler's call; `None` outside of a call.
    pub(crate) fn current_call() -> Option<u64> {
        CURRENT.try_with(|current| current.call).ok().filter(|call| *call != 0)
    }

    /// Adds the service and the call number, which only the running server knows.
    pub(crate) fn with_current_call(self) -> Self {
        let current = CURRENT.try_with(|current| (current.service.clone(), current.call));
        let (service, call) = current.unwrap_or_default();
        Self { service, call, ..self }
    }

    /// Runs `future` in this context, so that messages that it sends carry the context.
    pub fn carry<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(Box::new(self), future)
    }

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
    // An error means that there is no handler.
    let _ = CURRENT.try_with(|context| context.propagate(message));
}

/// Ends a call by the deadline of the running handler. Does nothing outside of a handler.
///
/// Only calls that the handler awaits inherit the deadline. A one-way call is work of its own,
/// which goes on after the handler has ended.
pub(crate) fn limit_deadline(deadline: &mut Deadline) {
    // An error means that there is no handler.
    let _ = CURRENT.try_with(|context| context.limit_deadline(deadline));
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

    #[tokio::test]
    async fn context_is_set_within_its_handler_only() {
        assert!(Context::current().is_none());
        let method = context().carry(async { Context::current().unwrap().method }).await;
        assert_eq!(method, Some(Address::new("orders.create").unwrap()));
    }
}
