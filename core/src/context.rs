//! The circumstances of a call, a job or an event, and what of them is handed on.

mod baggage;
mod call_stack;

use std::future::Future;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use rustc_hash::FxHasher;

pub use self::baggage::Baggage;
pub use self::call_stack::CallStack;
use crate::message::{Address, Deadline, Extensions, Headers, History, Identity, Message};
use crate::rpc::ReplySlot;

/// The circumstances of a call, a job or an event, for a handler that asks for them.
///
/// ```
/// # use polywire_codec::MessagePack;
/// use polywire_core::{Context, Router};
///
/// let router = Router::new(MessagePack).method("whoami", |context: Context, (): ()| async move {
///     Ok(context.headers.get("user").unwrap_or("nobody").to_owned())
/// });
/// ```
///
/// # What Is Handed On
///
/// What a handler calls, pushes or publishes belongs to the work that it was asked to do. So the
/// context goes along by itself, as long as the handler is polled:
///
/// - a call has the deadline of the call that the handler answers, if its own is later, and that is
///   not [answered](crate::Replier) yet;
/// - [`traceparent`](https://www.w3.org/TR/trace-context/) and `tracestate` are passed on;
/// - [`Baggage`] is passed on, with what the handler adds;
/// - the [`CallStack`] grows by the call that the handler answers.
///
/// A task that the handler spawns is on its own, since it may outlive the call;
/// [`carry`](Self::carry) takes it along.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{Client, Context, Router};
/// # fn router(billing: Client<MessagePack>) -> Router<MessagePack> {
/// Router::new(MessagePack).method("order", move |context: Context, item: String| {
///     let billing = billing.clone();
///     async move {
///         // Has until the deadline of `order`, and says that it is a part of it.
///         let charged = billing.call::<u64>("charge", &item);
///         // So does this, in a task of its own.
///         let audit = tokio::spawn(context.carry({
///             let (billing, item) = (billing.clone(), item.clone());
///             async move { billing.call::<()>("audit", &item).await }
///         }));
///         let charged = charged.await?;
///         drop(audit);
///         Ok(charged)
///     }
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    /// The service that was called, if it was a call.
    pub service: Option<Address>,
    /// The method that was called.
    pub method: Option<Address>,
    /// What the event is about.
    pub topic: Option<Address>,
    /// When the caller stops waiting.
    pub deadline: Option<Deadline>,
    /// The headers of the message.
    pub headers: Headers,
    /// Which attempt this is, counted from 1; see
    /// [`Delivery::attempt`](crate::transport::Delivery::attempt).
    pub attempt: u32,
    /// What happened to it before, if anything did that was noted: what earlier attempts said, and
    /// whether it was dead.
    pub history: Option<Box<History>>,
    /// What layers have found out: who calls, for instance.
    pub extensions: Extensions,
    /// Who sent it, if the carrier has verified that; see [`Message::peer`]. Over RabbitMQ it is
    /// the user of the sender's connection, over ZeroMQ whoever holds the key or the password.
    /// `None` is somebody whom nobody knows: also a sender whose message was published again
    /// by somebody else, as RabbitMQ's are when they are retried or were declined.
    pub peer: Option<Arc<Identity>>,
    /// The number of the call, the same for each attempt at it; zero, if it wants no reply.
    call: u64,
    /// The caller, if one waits.
    pub(crate) asker: Option<Arc<ReplySlot>>,
}

impl Context {
    pub(crate) fn of(message: &Message, attempt: u32) -> Self {
        Self {
            service: None,
            method: message.method.clone(),
            topic: message.topic.clone(),
            deadline: message.deadline,
            headers: message.headers.clone(),
            attempt,
            history: message.history.clone(),
            extensions: Extensions::new(),
            peer: message.peer.clone(),
            call: 0,
            asker: None,
        }
    }

    pub(crate) fn of_call(service: &Address, message: &Message, attempt: u32) -> Self {
        let mut hasher = FxHasher::default();
        (&message.reply_to, message.id).hash(&mut hasher);
        let call = if message.reply_to.is_some() { hasher.finish() } else { 0 };
        Self { service: Some(service.clone()), call, ..Self::of(message, attempt) }
    }

    /// How often it was a dead letter and somebody sent it on its way again.
    #[must_use]
    pub fn redriven(&self) -> u32 {
        self.history.as_ref().map_or(0, |history| history.redriven)
    }

    /// A context outside of any handler, in which these headers are handed on.
    pub(crate) fn outside(headers: Headers) -> Self {
        Self { headers, ..Self::of(&Message::default(), 1) }
    }

    /// The context of the handler in which this is asked, if it is asked in one.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Who waits for the outcome of the running handler.
    pub(crate) fn asker() -> Option<Arc<ReplySlot>> {
        CURRENT.try_with(|current| current.asker.clone()).ok().flatten()
    }

    /// The context of the running handler, if somebody waits for its outcome, for what is not to
    /// answer him.
    pub(crate) fn unasked() -> Option<Self> {
        let current = || CURRENT.with(Clone::clone);
        CURRENT
            .try_with(|current| current.asker.is_some())
            .ok()?
            .then(|| Self { asker: None, ..current() })
    }

    /// Runs `future` in this context, so that what it calls, pushes and publishes takes over what
    /// is handed on.
    pub fn carry<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Whether it was delivered before, so that the work may have been done, or half done.
    #[must_use]
    pub fn is_redelivered(&self) -> bool {
        self.attempt > 1
    }

    /// The time that is left, if anybody waits; zero, if it has passed.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(Deadline::remaining)
    }

    /// What those who called before have sent along.
    #[must_use]
    pub fn baggage(&self) -> Baggage {
        Baggage::of(&self.headers)
    }

    /// The calls that led here, the first one first; this one is the last.
    #[must_use]
    pub fn call_stack(&self) -> CallStack {
        CallStack::of(self)
    }

    /// With what only the serving end knows about the call that is being carried out.
    pub(crate) fn in_its_place(self) -> Self {
        let place = CURRENT.try_with(|current| (current.service.clone(), current.call));
        let (service, call) = place.unwrap_or_default();
        Self { service, call, ..self }
    }

    /// Writes what is handed on into a message that is about to leave.
    fn propagate(&self, message: &mut Message) {
        let is_awaited = !self.asker.as_ref().is_some_and(|asker| asker.is_answered());
        if let (Some(ours), Some(deadline), true) =
            (self.deadline, &mut message.deadline, is_awaited)
        {
            *deadline = ours.min(*deadline);
        }
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

    fn is_outside(&self) -> bool {
        self.service.is_none() && self.method.is_none() && self.topic.is_none() && self.call == 0
    }
}

/// Writes what the running handler hands on into a message that is about to leave; nothing outside
/// of a handler.
pub(crate) fn propagate(message: &mut Message) {
    // An error means that there is no handler.
    let _ = CURRENT.try_with(|context| context.propagate(message));
}

tokio::task_local! {
    static CURRENT: Context;
}

/// The headers of W3C's trace context.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::CallId;

    fn context() -> Context {
        let mut message =
            Message::request(Address::new("orders.create").unwrap(), Deadline::after_ms(1_000));
        message.id = Some(CallId(7));
        message.headers.insert("traceparent", "00-1-2-01");
        message.headers.insert("secret", "stays");
        Context::of(&message, 1)
    }

    #[tokio::test(start_paused = true)]
    async fn what_leaves_a_handler_takes_its_context_along() {
        let outgoing =
            || Message::request(Address::new("charge").unwrap(), Deadline::after_ms(30_000));
        let mut message = outgoing();
        propagate(&mut message);
        assert_eq!((message.deadline.unwrap().remaining_ms(), message.headers.len()), (30_000, 0));
        let message = context()
            .carry(async move {
                propagate(&mut message);
                message
            })
            .await;
        assert_eq!(message.deadline.unwrap().remaining_ms(), 1_000);
        assert_eq!(message.headers.get("traceparent"), Some("00-1-2-01"));
        assert_eq!(message.headers.get("secret"), None);
        assert!(message.headers.get("call-id-stack").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nearer_deadline_and_own_trace_stay() {
        let message = context()
            .carry(async {
                let mut message =
                    Message::request(Address::new("charge").unwrap(), Deadline::after_ms(10));
                message.headers.insert("traceparent", "00-3-4-01");
                propagate(&mut message);
                message
            })
            .await;
        assert_eq!(message.deadline.unwrap().remaining_ms(), 10);
        assert_eq!(message.headers.get("traceparent"), Some("00-3-4-01"));
    }

    #[tokio::test]
    async fn context_is_known_within_its_handler_only() {
        assert!(Context::current().is_none());
        let method = context().carry(async { Context::current().unwrap().method }).await;
        assert_eq!(method, Some(Address::new("orders.create").unwrap()));
    }
}
