//! Facts about a received call that outlive its message.

use std::sync::Arc;

use crate::message::{
    Address, CallId, Deadline, Headers, History, Identity, Message, MessageId, ReplyTo,
};

/// Facts about a received call, for the context of its handler.
///
/// The handler owns the message, and layers may change it. Clones share texts and headers.
pub(crate) struct CallFacts {
    pub(crate) method: Option<Address>,
    pub(crate) topic: Option<Address>,
    pub(crate) id: Option<CallId>,
    /// The reply address, if a caller waits.
    pub(crate) reply_to: Option<ReplyTo>,
    pub(crate) message_id: Option<MessageId>,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) headers: Headers,
    pub(crate) history: Option<Box<History>>,
    pub(crate) peer: Option<Arc<Identity>>,
    /// The number of the attempt, from 1.
    pub(crate) attempt: u32,
    pub(crate) redelivered: bool,
}

impl CallFacts {
    /// Takes the facts from a message whose reply address was taken out.
    #[inline]
    pub(crate) fn new(
        message: &Message,
        reply_to: Option<ReplyTo>,
        (attempt, redelivered): (u32, bool),
    ) -> Self {
        Self {
            method: message.method.clone(),
            topic: message.topic.clone(),
            id: message.id,
            reply_to,
            message_id: message.message_id.clone(),
            deadline: message.deadline,
            headers: message.headers.clone(),
            history: message.history.clone(),
            peer: message.peer.clone(),
            attempt,
            redelivered,
        }
    }

    /// Returns the number of the call; `None` if no caller waits.
    pub(crate) fn call_number(&self) -> Option<u64> {
        self.reply_to.as_ref().map(|reply_to| reply_to.call_number(self.id))
    }
}
