//! The context that a handler runs in.

use std::sync::Arc;
use std::time::Duration;

use super::Baggage;
use crate::message::{
    Address, Deadline, Extensions, Headers, History, Identity, Instance, Message, MessageId,
};
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
///   A handler that has [replied](crate::Replier) early, or is
///   [uncancelled](crate::rpc::uncancelled), passes no deadline on. A one-way call inherits no
///   deadline: it is work of its own, which may begin after the handler has ended.
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
    /// [`Delivery::attempt`](crate::transport::Delivery::attempt). Over RabbitMQ, an attempt that
    /// ended with its process counts only if the message was the only suspect in it.
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
    /// The id of the message, as the sender set it.
    pub(super) message_id: Option<MessageId>,
    /// The number of the call, equal for each attempt; zero for a one-way call.
    pub(super) call: u64,
    /// Set if the message was delivered before. Its attempt may be the first all the same.
    pub(crate) redelivered: bool,
    /// The state that the server shares with the handler of a request.
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
            message_id: message.message_id.clone(),
            call: 0,
            redelivered: false,
            reply_slot: None,
        }
    }

    /// Creates the context of a received call.
    pub(crate) fn of_call(slot: &Arc<ReplySlot>) -> Self {
        let facts = slot.facts();
        Self {
            service: Some(slot.service().clone()),
            method: facts.method.clone(),
            topic: facts.topic.clone(),
            deadline: facts.deadline,
            headers: facts.headers.clone(),
            attempt: facts.attempt,
            history: facts.history.clone(),
            extensions: Extensions::new(),
            peer: facts.peer.clone(),
            message_id: facts.message_id.clone(),
            call: facts.call_number().unwrap_or(0),
            redelivered: facts.redelivered,
            reply_slot: Some(slot.clone()),
        }
    }

    /// Creates a context outside of any handler, which propagates these headers.
    pub(crate) fn outside(headers: Headers) -> Self {
        Self { headers, ..Self::of(&Message::default(), 1) }
    }

    /// Returns the id of the message: the same through retries, redeliveries and redrives.
    ///
    /// The sender chooses or makes the id of a job, an event or a one-way call; see [`MessageId`].
    /// The id of a call whose caller chose none stands for its call id. Such an id differs for each
    /// call that a client's [`Retry`](crate::middleware::Retry) makes; a chosen one does not.
    /// `None` if the sender is another program, or an older version, and gave no id.
    ///
    /// ```
    /// # use std::collections::HashSet;
    /// # use std::sync::{Arc, Mutex};
    /// # use polywire_core::message::MessageId;
    /// use polywire_core::{Context, Fault};
    ///
    /// # let done: Arc<Mutex<HashSet<Option<MessageId>>>> = Arc::default();
    /// let handler = move |context: Context, file: String| {
    ///     let is_new = done.lock().unwrap().insert(context.message_id());
    ///     async move {
    ///         if is_new {
    ///             println!("rendering {file}");
    ///         }
    ///         Ok::<_, Fault>(())
    ///     }
    /// };
    /// # let _ = handler;
    /// ```
    #[must_use]
    pub fn message_id(&self) -> Option<MessageId> {
        let of_call = || (self.call != 0).then(|| MessageId::of_call(self.call));
        self.message_id.clone().or_else(of_call)
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
        self.redelivered || self.attempt > 1
    }

    /// Returns the time until the caller's deadline; zero if the deadline has passed, `None` if
    /// there is no deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(Deadline::remaining)
    }

    /// Returns the description of the component that sent the message, if its transport is
    /// [identified](crate::transport::Identified). Reads the header at each call.
    ///
    /// The description is a claim of the sender; [`peer`](Self::peer) is verified. A message that
    /// the sender passed on from another component has the description of the one that sent it
    /// last.
    #[must_use]
    pub fn sender(&self) -> Option<Instance> {
        Instance::of(&self.headers)
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
