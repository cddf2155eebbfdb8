//! The slot for a caller's reply, which is filled once.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytestring::ByteString;

use super::{Gate, Permissions};
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::message::{CallId, Deadline, Message, ReplyTo};
use crate::transport::Sender;

/// The state of a request that the server and the handler share: the place for the reply, if a
/// caller waits, and the handler's claim to outlive its caller.
///
/// A handler may fill the slot before it ends; see [`Replier`](crate::Replier). A slot that is
/// filled takes no second reply.
pub(crate) struct ReplySlot {
    sender: Sender,
    id: Option<CallId>,
    /// The reply address, if a caller waits.
    reply_to: Option<ReplyTo>,
    /// Set once an uncancelled handler has begun.
    is_uncancelled: AtomicBool,
    /// The format of the request.
    content_type: Option<ByteString>,
    /// The encoder of the router that runs the handler.
    encoder: OnceLock<Arc<dyn EncodeReply>>,
    state: Mutex<State>,
    /// The deadline of the request.
    deadline: Option<Deadline>,
    /// The gate that the request passes before it begins.
    gate: Gate,
    /// The open questions of the server.
    permissions: Arc<Permissions>,
}

enum State {
    Open,
    /// The handler replied, and still runs.
    Replied(Box<Message>),
    /// The handler has ended.
    Closed,
}

impl ReplySlot {
    /// Creates the slot of a request that was received with the address `reply_to`, and passes
    /// `gate`. The slot of a one-way request takes no reply.
    pub(crate) fn new(
        sender: Sender,
        request: &Message,
        reply_to: Option<ReplyTo>,
        gate: Gate,
        permissions: Arc<Permissions>,
    ) -> Self {
        let (id, content_type) = (request.id, request.content_type.clone());
        Self {
            sender,
            id,
            content_type,
            encoder: OnceLock::new(),
            is_uncancelled: AtomicBool::new(false),
            state: Mutex::new(if reply_to.is_some() { State::Open } else { State::Closed }),
            reply_to,
            deadline: request.deadline,
            gate,
            permissions,
        }
    }

    /// Returns the gate that the request passes before it begins.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Passes the gate: asks the caller for its permission, or settles the request if the caller
    /// cannot answer.
    pub(crate) async fn begin(&self) -> Result<(), Fault> {
        if self.gate.is_begun() {
            return Ok(());
        }
        let Some(call) = self.reply_to.clone().zip(self.id) else {
            return self.gate.settle_first();
        };
        match self.permissions.ask(&self.sender, call, self.deadline).await {
            Some(answer) => self.gate.answered(answer),
            None => self.gate.settle_first(),
        }
    }

    /// Sets the encoder for replies, unless a router has set one already.
    pub(crate) fn set_encoder(&self, encoder: &Arc<dyn EncodeReply>) {
        self.encoder.get_or_init(|| encoder.clone());
    }

    /// Returns the number of the call; `None` if no caller waits.
    pub(crate) fn call_number(&self) -> Option<u64> {
        self.reply_to.as_ref().map(|reply_to| reply_to.call_number(self.id))
    }

    /// Returns `true` if the request is not one-way.
    pub(crate) fn has_caller(&self) -> bool {
        self.reply_to.is_some()
    }

    /// Returns `true` as long as a reply can be sent.
    pub(crate) fn is_open(&self) -> bool {
        matches!(*self.state(), State::Open)
    }

    /// Returns `true` if the handler has replied and still runs.
    fn is_replied(&self) -> bool {
        matches!(*self.state(), State::Replied(_))
    }

    /// Marks the handler as one that runs to its end, even if its caller leaves.
    pub(crate) fn mark_uncancelled(&self) {
        self.is_uncancelled.store(true, Ordering::Release);
    }

    /// Returns `true` if the handler goes on when its caller cancels, and after its caller's
    /// deadline: it has replied already, or is marked as uncancelled.
    pub(crate) fn outlives_caller(&self) -> bool {
        self.is_uncancelled.load(Ordering::Acquire) || self.is_replied()
    }

    /// Closes the slot because the handler has ended. Returns the reply that the handler sent
    /// before.
    pub(crate) fn close(&self) -> Option<Box<Message>> {
        match std::mem::replace(&mut *self.state(), State::Closed) {
            State::Replied(reply) => Some(reply),
            State::Open | State::Closed => None,
        }
    }

    /// Encodes a result in the format of the request.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the result cannot be encoded, [`ErrorKind::Unsupported`] if no
    /// router runs the handler.
    pub(crate) fn encode(&self, result: &dyn erased_serde::Serialize) -> Result<Message> {
        let mut reply = Message { content_type: self.content_type.clone(), ..Message::default() };
        let encoder = self
            .encoder
            .get()
            .ok_or_else(|| Error::lacking("Replier", "early replies without a router"))?;
        encoder.encode(result, &mut reply)?;
        Ok(reply)
    }

    /// Sends the reply. If the transport fails to send, the slot is open again.
    ///
    /// Dropping the future may or may not send the reply; the slot stays filled.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] if the slot is not open, or the error of the transport.
    pub(crate) async fn send(&self, reply: Message) -> Result<()> {
        self.fill(&reply)?;
        let message = Message { id: self.id, reply_to: self.reply_to.clone(), ..reply };
        self.sender.send(message).await.inspect_err(|_| self.reopen())
    }

    /// Fills the slot before the reply is sent, so that no other reply can be sent meanwhile.
    fn fill(&self, reply: &Message) -> Result<()> {
        let mut state = self.state();
        let cause = match *state {
            State::Open => {
                *state = State::Replied(Box::new(reply.clone()));
                return Ok(());
            }
            State::Replied(_) => "cannot reply: the caller has a reply already",
            State::Closed => "cannot reply: the handler has ended",
        };
        Err(Error::new(ErrorKind::Closed, cause))
    }

    fn reopen(&self) {
        let mut state = self.state();
        if matches!(*state, State::Replied(_)) {
            *state = State::Open;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ReplySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplySlot").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The result encoding of a dialect, without the dialect's type.
pub(crate) trait EncodeReply: Send + Sync {
    /// Writes a result into `reply`.
    fn encode(&self, result: &dyn erased_serde::Serialize, reply: &mut Message) -> Result<()>;
}

impl<D: Dialect> EncodeReply for D {
    fn encode(&self, result: &dyn erased_serde::Serialize, reply: &mut Message) -> Result<()> {
        self.encode_outcome(Ok(result), reply)
    }
}
