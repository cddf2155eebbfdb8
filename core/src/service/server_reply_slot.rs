//! The slot for a caller's reply, which is filled once.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytestring::ByteString;

use super::{AtMostOnceGate, BeginQuestions, CallFacts};
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::message::{Address, Message};
use crate::transport::Sender;

/// The state of a request that the server and the handler share: the place for the reply, if a
/// caller waits, and the handler's claim to outlive its caller.
///
/// A handler may fill the slot before it ends; see [`Replier`](crate::Replier). A slot that is
/// filled takes no second reply.
pub(crate) struct ReplySlot {
    server: Arc<SlotServer>,
    facts: CallFacts,
    /// Set once an uncancelled handler has begun.
    is_uncancelled: AtomicBool,
    /// The format of the request.
    content_type: Option<ByteString>,
    state: Mutex<State>,
    /// The gate that the request passes before it begins.
    gate: AtMostOnceGate,
}

/// The parts of a server that the slots of its requests share.
pub(crate) struct SlotServer {
    pub(crate) service: Address,
    pub(crate) sender: Sender,
    /// The questions to callers whose calls run at most once.
    pub(crate) questions: Arc<BeginQuestions>,
}

struct State {
    reply: ReplyState,
    /// The encoder of the router that runs the handler.
    encoder: Option<Arc<dyn EncodeReply>>,
}

enum ReplyState {
    Open,
    /// The handler replied, and still runs.
    Replied(Box<Message>),
    /// The handler has ended.
    Closed,
}

impl ReplySlot {
    /// Creates the slot of a request that passes `gate`. The slot of a one-way request takes no
    /// reply.
    // Inlined, so that the slot is built where it stays.
    #[inline]
    pub(crate) fn new(
        server: Arc<SlotServer>,
        facts: CallFacts,
        content_type: Option<ByteString>,
        gate: AtMostOnceGate,
    ) -> Arc<Self> {
        let is_awaited = facts.reply_to.is_some();
        let reply = if is_awaited { ReplyState::Open } else { ReplyState::Closed };
        Arc::new(Self {
            server,
            facts,
            content_type,
            is_uncancelled: AtomicBool::new(false),
            state: Mutex::new(State { reply, encoder: None }),
            gate,
        })
    }

    /// Returns the service that was called.
    pub(crate) fn service(&self) -> &Address {
        &self.server.service
    }

    /// Returns the facts about the request.
    pub(crate) fn facts(&self) -> &CallFacts {
        &self.facts
    }

    /// Returns the gate that the request passes before it begins.
    pub(crate) fn gate(&self) -> &AtMostOnceGate {
        &self.gate
    }

    /// Passes the gate: asks the caller for its permission, or settles the request if the caller
    /// cannot answer.
    pub(crate) async fn begin(&self) -> Result<(), Fault> {
        if self.gate.is_begun() {
            return Ok(());
        }
        let Some(call) = self.facts.reply_to.clone().zip(self.facts.id) else {
            return self.gate.settle_first();
        };
        let SlotServer { sender, questions, .. } = &*self.server;
        match questions.ask(sender, call, self.facts.deadline).await {
            Some(answer) => self.gate.answered(answer),
            None => self.gate.settle_first(),
        }
    }

    /// Sets the encoder for replies, unless a router has set one already.
    pub(crate) fn set_encoder(&self, encoder: &Arc<dyn EncodeReply>) {
        self.state().encoder.get_or_insert_with(|| encoder.clone());
    }

    /// Returns `true` if the request is not one-way.
    pub(crate) fn has_caller(&self) -> bool {
        self.facts.reply_to.is_some()
    }

    /// Returns `true` as long as a reply can be sent.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state().reply, ReplyState::Open)
    }

    /// Returns `true` if the handler has replied and still runs.
    fn is_replied(&self) -> bool {
        matches!(self.state().reply, ReplyState::Replied(_))
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
        match std::mem::replace(&mut self.state().reply, ReplyState::Closed) {
            ReplyState::Replied(reply) => Some(reply),
            ReplyState::Open | ReplyState::Closed => None,
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
        let encoder = self.state().encoder.clone();
        let encoder =
            encoder.ok_or_else(|| Error::lacking("Replier", "early replies without a router"))?;
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
        let CallFacts { id, reply_to, .. } = &self.facts;
        let message = Message { id: *id, reply_to: reply_to.clone(), ..reply };
        self.server.sender.send(message).await.inspect_err(|_| self.reopen())
    }

    /// Fills the slot before the reply is sent, so that no other reply can be sent meanwhile.
    fn fill(&self, reply: &Message) -> Result<()> {
        let mut state = self.state();
        let cause = match state.reply {
            ReplyState::Open => {
                state.reply = ReplyState::Replied(Box::new(reply.clone()));
                return Ok(());
            }
            ReplyState::Replied(_) => "cannot reply: the caller has a reply already",
            ReplyState::Closed => "cannot reply: the handler has ended",
        };
        Err(Error::new(ErrorKind::Closed, cause))
    }

    fn reopen(&self) {
        let mut state = self.state();
        if matches!(state.reply, ReplyState::Replied(_)) {
            state.reply = ReplyState::Open;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ReplySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplySlot").field("id", &self.facts.id).finish_non_exhaustive()
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
