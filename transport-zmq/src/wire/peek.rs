//! The parts of a message that a balancer or a proxy reads without decoding the fields.
//!
//! A balancer matches replies to its in-flight calls, and retries declined ones. A proxy passes
//! messages on. Both need the fixed part and the fault code of a reply. Decoding the whole
//! message would allocate, and would validate fields that only the receiver has to understand.

use polywire_core::message::CallId;
use polywire_core::{Code, Deadline, Result};

use super::fixed_part::{FixedPart, length_in};
use super::frames::Frames;
use super::layout::{FIXED, kind, tag};

/// The fixed part of an envelope.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "engine-omq"), allow(dead_code, reason = "only proxies read the rest"))]
pub(crate) struct Peek {
    /// The kind of message.
    pub(crate) kind: Kind,
    /// The call that the message belongs to.
    pub(crate) id: Option<CallId>,
    /// The time until which the client waits.
    pub(crate) deadline: Option<Deadline>,
    /// Set if the server may handle the request more than once.
    pub(crate) idempotent: bool,
    /// Set if no server may begin the request after another one has.
    pub(crate) at_most_once: bool,
}

/// The kind of a message: a [`MessageRole`](super::MessageRole) without its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request, or a one-way call if it has no call id.
    Request,
    /// The outcome of a request: a result or a fault.
    Reply,
    /// The reply of a peer that does not serve the service.
    Refusal,
    /// A job of a queue.
    Job,
    /// A published event.
    Event,
    /// The cancellation of a call by its client.
    Cancel,
    /// The notice of a proxy that the server of a call is gone.
    Loss,
    /// The notice of a server that leaves, and the answer of its client.
    Leave,
}

/// Reads the fixed part of a message. Returns `None` if the message has no envelope.
pub(crate) fn peek(frames: &Frames) -> Option<Peek> {
    Peek::read(frames).ok()
}

impl Peek {
    /// Reads the fixed part of a message.
    ///
    /// # Errors
    ///
    /// `Codec` if the message has no envelope.
    pub(super) fn read(frames: &Frames) -> Result<Self> {
        let FixedPart { kind, id, deadline_ms, idempotent, at_most_once } =
            FixedPart::read(&frames.head)?;
        let kind = match kind {
            kind::REQUEST => Kind::Request,
            kind::REPLY => Kind::Reply,
            kind::REFUSAL => Kind::Refusal,
            kind::JOB => Kind::Job,
            kind::CANCEL => Kind::Cancel,
            kind::LOSS => Kind::Loss,
            kind::LEAVE => Kind::Leave,
            // Reading the fixed part has refused all other kinds.
            _ => Kind::Event,
        };
        let deadline = deadline_ms.map(|ms| Deadline::after_ms(ms.into()));
        Ok(Self { kind, id, deadline, idempotent, at_most_once })
    }
}

/// Returns whether a reply says that its server declines the request. Returns `false` for a
/// malformed reply, which the requester decodes and reports.
pub(crate) fn is_declined(reply: &Frames) -> bool {
    fault_code(&reply.head) == Some(Code::Declined)
}

/// Finds the code of the fault in an envelope. The fields before the code are short.
fn fault_code(head: &[u8]) -> Option<Code> {
    let mut at = FIXED;
    while let Some(&tag) = head.get(at) {
        let (length, size) = length_in(head.get(at + 1..)?, at + 1).ok()?;
        let value = at + 1 + size;
        if tag == tag::FAULT_CODE {
            return head.get(value).copied().map(Code::from_u8);
        }
        at = value + length;
    }
    None
}
