//! Requests to services.

use std::sync::Arc;

use super::{ReplySlot, SentSignal};
use crate::context::Context;
use crate::error::{Code, Fault, Result};
use crate::message::{Deadline, Extensions, Message, MessageId};

/// A call on its way to the service that processes it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request {
    /// The method, the deadline, the headers and the arguments.
    ///
    /// Boxed, because a request is moved through each layer.
    pub message: Box<Message>,
    /// The number of this attempt, counted from 1; see
    /// [`Delivery::attempt`](crate::transport::Delivery::attempt).
    pub attempt: u32,
    /// `true` if an earlier attempt may have done the work, or part of it. From attempt 2 on that
    /// is so in any case.
    pub redelivered: bool,
    /// `true` if processing the request twice has the same effect as processing it once.
    ///
    /// A layer or the backend may then try the request again when its outcome is unknown; the
    /// backend reads [`Message::idempotent`]. The caller sets it. The default is `false`.
    pub idempotent: bool,
    /// `true` if the call must never be begun twice; see
    /// [`begin_at_most_once`](Self::begin_at_most_once).
    ///
    /// The caller sets it, and the server obeys. The default is `false`.
    pub at_most_once: bool,
    /// `true` if the caller wants no outcome.
    ///
    /// The reply is then empty, and ready as soon as the backend has the request. A one-way
    /// request is sent without an id. The caller sets it. The default is `false`.
    pub oneway: bool,
    /// The moment by which a one-way request must be handed over to the backend. `None` stands for
    /// 30 seconds from the call. The deadline of its message says by when the request must begin.
    pub send_by: Option<Deadline>,
    /// `true` if the client waits for the first server of the service, until its deadline, instead
    /// of failing as [`Unroutable`](crate::ErrorKind::Unroutable).
    ///
    /// The caller sets it; see [`CallBuilder::wait_for_service`]. The default is `false`.
    ///
    /// [`CallBuilder::wait_for_service`]: crate::rpc::CallBuilder::wait_for_service
    pub wait_for_service: bool,
    /// Values that layers pass to the layers and handlers behind them.
    pub extensions: Extensions,
    /// The signal to raise when the backend has the request.
    pub(crate) sent_signal: Option<SentSignal>,
    /// The state that a server shares with the handler.
    pub(crate) reply_slot: Option<Arc<ReplySlot>>,
}

impl Request {
    /// Creates a request from a message: first attempt, not idempotent, not one-way.
    #[must_use]
    pub fn new(message: impl Into<Box<Message>>) -> Self {
        Self {
            message: message.into(),
            attempt: 1,
            redelivered: false,
            idempotent: false,
            at_most_once: false,
            oneway: false,
            send_by: None,
            wait_for_service: false,
            extensions: Extensions::new(),
            sent_signal: None,
            reply_slot: None,
        }
    }

    /// Returns the same request, to be sent once more. The body is shared, not copied.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            message: self.message.clone(),
            attempt: self.attempt,
            redelivered: self.redelivered,
            idempotent: self.idempotent,
            at_most_once: self.at_most_once,
            oneway: self.oneway,
            send_by: self.send_by,
            wait_for_service: self.wait_for_service,
            extensions: self.extensions.clone(),
            sent_signal: self.sent_signal.clone(),
            reply_slot: self.reply_slot.clone(),
        }
    }

    /// Begins a call that must never be begun twice: waits until its caller permits this server to
    /// begin.
    ///
    /// A service calls this just before work that must not be repeated. A
    /// [`Router`](crate::Router) does so for methods that are marked as
    /// [at most once](crate::at_most_once), and a server for requests that their callers mark. A
    /// second call has no effect.
    ///
    /// - A caller permits one delivery of its request, and no other, even if the broker redelivers.
    /// - The request is settled then, so that no other server gets it. A request of a server that
    ///   dies before goes to another server, where the transport can settle.
    /// - If the caller cannot answer, as with a one-way call, a request that was delivered before
    ///   is refused.
    /// - A job or an event has no caller. One that was delivered before is refused, also if a
    ///   worker had only prefetched it, and so goes to the dead letters or is discarded.
    /// - In the process of the caller, without a server, the method does nothing.
    ///
    /// Dropping the future leaves the call as it is; the caller may have permitted it.
    ///
    /// # Errors
    ///
    /// A fault, which the service returns: with [`Code::Unavailable`] if the caller does not answer
    /// within 10 seconds or its deadline. With [`Code::Interrupted`] if another delivery of the
    /// request was or may have been begun, or the caller has stopped waiting.
    ///
    /// [`Code::Unavailable`]: crate::Code::Unavailable
    /// [`Code::Interrupted`]: crate::Code::Interrupted
    pub async fn begin_at_most_once(&self) -> Result<(), Fault> {
        match &self.reply_slot {
            Some(slot) => slot.begin().await,
            None if self.redelivered => {
                let cause = "cannot run the message: an earlier delivery may have run it";
                // Otherwise the worker would attempt it again.
                Err(Fault::new(Code::Interrupted, cause).permanent())
            }
            None => Ok(()),
        }
    }

    /// Returns the moment at which the caller stops waiting: the deadline of a call, or the moment
    /// by which a one-way request must be handed over.
    #[must_use]
    pub fn wait_until(&self) -> Option<Deadline> {
        if self.oneway { self.send_by } else { self.message.deadline }
    }

    /// Returns the id by which a handler knows the message, for spans and log lines. A client knows
    /// an id that the caller chose, and no other.
    pub(crate) fn known_message_id(&self) -> Option<MessageId> {
        let is_handled = self.reply_slot.is_some();
        let of_call = || Context::current_call().filter(|_| is_handled).map(MessageId::of_call);
        self.message.message_id.clone().or_else(of_call)
    }

    /// Marks the handler of the request, which begins now, as uncancelled. Has no effect without a
    /// server.
    pub(crate) fn mark_uncancelled(&self) {
        if let Some(slot) = &self.reply_slot {
            slot.mark_uncancelled();
        }
    }

    /// Returns whether the current context is that of the request: no layer has changed headers or
    /// added a value.
    pub(crate) fn has_current_context(&self) -> bool {
        let Message { headers, method, .. } = &*self.message;
        self.extensions.is_empty() && Context::is_current(headers, method.as_ref())
    }

    /// Returns the context of the request, for a handler.
    #[must_use]
    pub fn context(&self) -> Context {
        let mut context = Context::of(&self.message, self.attempt).with_current_call();
        context.redelivered = self.redelivered;
        context.extensions = self.extensions.clone();
        context.reply_slot = self.reply_slot.clone();
        context
    }
}
