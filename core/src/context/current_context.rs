//! The context of the running handler.

use std::future::Future;
use std::sync::Arc;

use super::Context;
use crate::message::{Address, Headers};
use crate::service::ReplySlot;

tokio::task_local! {
    /// Small, because the value is swapped in and out at each poll of the handler.
    static CURRENT: Current;
}

/// The context of the running handler.
enum Current {
    /// That of a received call. A [`Context`] is made when it is asked for: most handlers do not.
    Call(Arc<ReplySlot>),
    /// One that was carried here.
    Carried(Box<Context>),
}

impl Current {
    fn to_context(&self) -> Context {
        match self {
            Self::Call(slot) => Context::of_call(slot),
            Self::Carried(context) => Context::clone(context),
        }
    }

    fn reply_slot(&self) -> Option<&Arc<ReplySlot>> {
        match self {
            Self::Call(slot) => Some(slot),
            Self::Carried(context) => context.reply_slot.as_ref(),
        }
    }

    fn call(&self) -> u64 {
        match self {
            Self::Call(slot) => slot.facts().call_number().unwrap_or(0),
            Self::Carried(context) => context.call,
        }
    }
}

impl Context {
    /// Returns the context of the running handler; `None` outside of a handler.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Current::to_context).ok()
    }

    /// Calls a function with the context of the running handler; `None` outside of a handler.
    pub(crate) fn with_current<T>(function: impl FnOnce(&Self) -> T) -> Option<T> {
        let called = CURRENT.try_with(|current| match current {
            Current::Call(slot) => function(&Self::of_call(slot)),
            Current::Carried(context) => function(context),
        });
        called.ok()
    }

    /// Returns whether the running handler has these headers and this method in its context.
    pub(crate) fn is_current(headers: &Headers, method: Option<&Address>) -> bool {
        let is_current = CURRENT.try_with(|current| match current {
            Current::Call(slot) => {
                let facts = slot.facts();
                facts.method.as_ref() == method && facts.headers == *headers
            }
            Current::Carried(context) => {
                context.method.as_ref() == method && context.headers == *headers
            }
        });
        is_current.unwrap_or(false)
    }

    /// Returns the slot for the reply of the running handler.
    pub(crate) fn current_reply_slot() -> Option<Arc<ReplySlot>> {
        CURRENT.try_with(|current| current.reply_slot().cloned()).ok().flatten()
    }

    /// Returns the context of the running handler without the slot for its reply; `None` if the
    /// handler has no slot.
    ///
    /// A service that the handler calls in its own process must not reply to the handler's caller.
    pub(crate) fn without_reply_slot() -> Option<Self> {
        let without = |current: &Current| {
            current.reply_slot()?;
            Some(Self { reply_slot: None, ..current.to_context() })
        };
        CURRENT.try_with(without).ok().flatten()
    }

    /// Returns the number of the running handler's call; `None` outside of a call.
    pub(crate) fn current_call() -> Option<u64> {
        CURRENT.try_with(Current::call).ok().filter(|call| *call != 0)
    }

    /// Adds the service and the call number, which only the running server knows.
    pub(crate) fn with_current_call(self) -> Self {
        let current = CURRENT.try_with(|current| match current {
            Current::Call(slot) => (Some(slot.service().clone()), current.call()),
            Current::Carried(context) => (context.service.clone(), context.call),
        });
        let (service, call) = current.unwrap_or_default();
        Self { service, call, ..self }
    }

    /// Runs `future` in this context, so that messages that it sends carry the context.
    pub fn carry<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(Current::Carried(Box::new(self)), future)
    }
}

/// Runs `future` in the context of a received call.
pub(crate) fn within_call<F: Future>(
    slot: Arc<ReplySlot>,
    future: F,
) -> impl Future<Output = F::Output> + use<F> {
    CURRENT.scope(Current::Call(slot), future)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Deadline, Message};

    #[tokio::test]
    async fn context_is_set_within_its_handler_only() {
        assert!(Context::current().is_none());
        let request =
            Message::request(Address::new("orders.create").unwrap(), Deadline::after_ms(1_000));
        let context = Context::of(&request, 1);
        let method = context.carry(async { Context::current().unwrap().method }).await;
        assert_eq!(method, Some(Address::new("orders.create").unwrap()));
    }
}
