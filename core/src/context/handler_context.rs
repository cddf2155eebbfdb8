//! The context that a handler runs in.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHasher;

use super::Baggage;
use crate::message::{Address, Deadline, Extensions, Headers, History, Identity, Message};
use crate::service::ReplySlot;

/// The context of a call, a job or an event, for the handler that processes it.
///
/// ```
/// # use polywire_codec::MessagePack;
/// use polywire_core::{Context, Router};
///
/// let router = Router::new(MessagePack).method("whoami", |context: Context, (): ()| async move {
///     Ok(context.headers.get("user").unwrap_or("anonymous").to_owned())
/// });
/// ```
///
/// # Propagation
///
/// Calls, jobs and events that a handler sends belong to the work of the handler. While the handler
/// is polled, every message that it sends carries parts of its context:
///
/// - A call that the handler awaits has the deadline of the handler's own call, if that is earlier.
///   A handler that has [replied](crate::Replier) early passes no deadline on. A one-way call
///   inherits no deadline: it is work of its own, which may begin after the handler has ended.
/// - [`traceparent`](https://www.w3.org/TR/trace-context/) and `tracestate` are copied.
/// - [`Baggage`] is copied, together with the pairs that the handler adds.
/// - The [`CallStack`](crate::context::CallStack) grows by the handler's own call.
///
/// A task that the handler spawns has no context, since it may outlive the call.
/// [`carry`](Self::carry) gives it the context of the handler.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{Client, Context, Router};
/// # fn router(billing: Client<MessagePack>) -> Router<MessagePack> {
/// Router::new(MessagePack).method("order", move |context: Context, item: String| {
///     let billing = billing.clone();
///     async move {
///         // Ends by the deadline of `order`, and names `order` in its call stack.
///         let charged = billing.call::<u64>("charge", &item);
///         // The same, from a task of its own.
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
    /// The service that was called. `None` for a job or an event.
    pub service: Option<Address>,
    /// The method that was called.
    pub method: Option<Address>,
    /// The topic of the event.
    pub topic: Option<Address>,
    /// The time at which the caller stops waiting. `None` for a one-way call, a job or an event.
    pub deadline: Option<Deadline>,
    /// The headers of the message.
    pub headers: Headers,
    /// The number of this attempt, counted from 1; see
    /// [`Delivery::attempt`](crate::transport::Delivery::attempt).
    pub attempt: u32,
    /// The errors of earlier attempts and the time as a dead letter, if there were any.
    pub history: Option<Box<History>>,
    /// Values that layers have added, such as the user who calls.
    pub extensions: Extensions,
    /// The verified identity of the sender; see [`Message::peer`].
    ///
    /// Over RabbitMQ it is the user of the sender's connection, over ZeroMQ the owner of the key
    /// or the password. `None` if the transport has not verified the sender. It is also `None`
    /// for a message that another component republished. RabbitMQ's retried and declined
    /// messages are such messages.
    pub peer: Option<Arc<Identity>>,
    /// The number of the call, equal for each attempt; zero for a one-way call.
    pub(super) call: u64,
    /// The slot for the reply, if the caller waits.
    pub(crate) reply_slot: Option<Arc<ReplySlot>>,
}

impl Context {
    /// Creates the context of a message that is no call.
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
            reply_slot: None,
        }
    }

    /// Creates the context of a call of `service`.
    pub(crate) fn of_call(service: &Address, message: &Message, attempt: u32) -> Self {
        let mut hasher = FxHasher::default();
        (&message.reply_to, message.id).hash(&mut hasher);
        let call = if message.reply_to.is_some() { hasher.finish() } else { 0 };
        Self { service: Some(service.clone()), call, ..Self::of(message, attempt) }
    }

    /// Creates a context outside of any handler, which propagates these headers.
    pub(crate) fn outside(headers: Headers) -> Self {
        Self { headers, ..Self::of(&Message::default(), 1) }
    }

    /// Returns how many times the message was redriven from the dead letters.
    #[must_use]
    pub fn redriven(&self) -> u32 {
        self.history.as_ref().map_or(0, |history| history.redriven)
    }

    /// Returns `true` if the message was delivered before, so that the work may have been done, in
    /// full or in part.
    #[must_use]
    pub fn is_redelivered(&self) -> bool {
        self.attempt > 1
    }

    /// Returns the time until the caller's deadline; zero if the deadline has passed, `None` if
    /// there is no deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(Deadline::remaining)
    }

    /// Returns the baggage that the message carries.
    #[must_use]
    pub fn baggage(&self) -> Baggage {
        Baggage::of(&self.headers)
    }

    /// Returns `true` if this is the context of no call, job or event.
    pub(super) fn is_outside(&self) -> bool {
        self.service.is_none() && self.method.is_none() && self.topic.is_none() && self.call == 0
    }
}
