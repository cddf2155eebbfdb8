//! Requests to services.

use std::sync::Arc;

use super::{ReplySlot, SentSignal};
use crate::context::Context;
use crate::message::{Extensions, Message};

/// A call on its way to the service that processes it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request {
    /// The method, the deadline, the headers and the arguments.
    pub message: Message,
    /// The number of this attempt, counted from 1; see
    /// [`Delivery::attempt`](crate::transport::Delivery::attempt).
    pub attempt: u32,
    /// `true` if processing the request twice has the same effect as processing it once.
    ///
    /// A layer or the backend may then try the request again when its outcome is unknown; the
    /// backend reads [`Message::idempotent`]. The caller sets it. The default is `false`.
    pub idempotent: bool,
    /// `true` if the caller wants no outcome.
    ///
    /// The reply is then empty, and ready as soon as the backend has the request. A one-way
    /// request is sent without an id. The caller sets it. The default is `false`.
    pub oneway: bool,
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
    pub fn new(message: Message) -> Self {
        Self {
            message,
            attempt: 1,
            idempotent: false,
            oneway: false,
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
            idempotent: self.idempotent,
            oneway: self.oneway,
            extensions: self.extensions.clone(),
            sent_signal: self.sent_signal.clone(),
            reply_slot: self.reply_slot.clone(),
        }
    }

    /// Marks the handler of the request, which begins now, as uncancelled. Has no effect without a
    /// server.
    pub(crate) fn mark_uncancelled(&self) {
        if let Some(slot) = &self.reply_slot {
            slot.mark_uncancelled();
        }
    }

    /// Returns the context of the request, for a handler.
    #[must_use]
    pub fn context(&self) -> Context {
        let mut context = Context::of(&self.message, self.attempt).with_current_call();
        context.extensions = self.extensions.clone();
        context.reply_slot = self.reply_slot.clone();
        context
    }
}
