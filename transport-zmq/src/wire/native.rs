//! Our own layout: a versioned envelope, with a small body in it or the frames of a larger one
//! after it. `docs/wire-native.md` specifies it.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use polywire_core::message::CallId;
use polywire_core::{Code, Deadline, Limits, Message, Result};

use super::{Frames, Garbled, Role, Wire};

/// The native wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Native;

impl Wire for Native {
    fn encode(&self, role: &Role, message: Message, limits: &Limits) -> Result<Frames> {
        encode::frames(role, message, self.head_max(limits))
    }

    fn decode(&self, frames: Frames, limits: &Limits) -> Result<(Role, Message), Garbled> {
        decode::message(frames, limits, self.head_max(limits))
    }

    fn restamp(&self, frames: &mut Frames, deadline: Deadline) {
        // Nobody else has the head yet, so this copies nothing.
        let mut head = Vec::from(std::mem::take(&mut frames.head));
        let has_one = head.get(FLAGS_AT).is_some_and(|flags| flags & flag::HAS_DEADLINE != 0);
        if let Some(place) = head.get_mut(DEADLINE_AT..FIXED).filter(|_| has_one) {
            place.copy_from_slice(&encode::deadline_ms(Some(deadline)));
        }
        frames.head = Bytes::from(head);
    }

    fn head_max(&self, limits: &Limits) -> usize {
        FIELDS_MAX + limits.header_bytes_max + INLINE_MAX
    }
}

impl Native {
    /// What a message is, for who passes it on and reads no more of it. `None` if it has no
    /// envelope.
    pub(crate) fn peek(self, frames: &Frames) -> Option<Peek> {
        decode::peek(&frames.head)
    }

    /// Whether a reply says that its server declines the request.
    pub(crate) fn is_declined(self, reply: &Frames) -> bool {
        decode::fault_code(&reply.head) == Some(Code::Declined)
    }

    /// Gives a call another id.
    #[cfg(feature = "engine-omq")]
    pub(crate) fn renumber(self, frames: &mut Frames, id: CallId) {
        // Nobody else has it, unless the engine has packed several messages into one buffer; then
        // this copies it.
        let mut head = Vec::from(std::mem::take(&mut frames.head));
        if let Some(place) = head.get_mut(ID_AT..DEADLINE_AT) {
            place.copy_from_slice(&id.0.to_be_bytes());
        }
        frames.head = Bytes::from(head);
    }
}

/// What can be told of a message without reading its fields.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "engine-omq"), allow(dead_code, reason = "forwarders read the rest"))]
pub(crate) struct Peek {
    pub(crate) kind: Kind,
    pub(crate) id: Option<CallId>,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) idempotent: bool,
}

/// What a message is for, without the name that goes with it. See [`Role`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Reply,
    Refusal,
    Job,
    Event,
    Cancel,
    Loss,
}

/// "PW", for polywire.
const MAGIC: u8 = 0x50;
const VERSION: u8 = 1;
/// Magic, version, kind, flags, eight bytes of call id, four of deadline.
const FIXED: usize = 16;
#[cfg(feature = "engine-omq")]
const ID_AT: usize = 4;
const FLAGS_AT: usize = 3;
const DEADLINE_AT: usize = 12;
/// Room for all fields but what headers hold: names of services and methods, a fault with its
/// details.
const FIELDS_MAX: usize = 64 << 10;

/// The largest body that we write into the envelope. A frame of its own costs about as much as
/// copying this much.
const INLINE_MAX: usize = 4 << 10;

/// What the third byte says.
mod kind {
    pub(super) const REQUEST: u8 = 1;
    pub(super) const REPLY: u8 = 2;
    pub(super) const REFUSAL: u8 = 3;
    pub(super) const JOB: u8 = 4;
    pub(super) const EVENT: u8 = 5;
    pub(super) const CANCEL: u8 = 6;
    pub(super) const LOSS: u8 = 7;
}

/// What the bits of the fourth byte say.
mod flag {
    pub(super) const HAS_ID: u8 = 1;
    pub(super) const HAS_DEADLINE: u8 = 2;
    pub(super) const IS_IDEMPOTENT: u8 = 4;
}

/// The numbers of the fields. A reader skips one that it does not know, unless its highest bit is
/// set.
mod tag {
    pub(super) const SERVICE: u8 = 1;
    pub(super) const METHOD: u8 = 2;
    pub(super) const CONTENT_TYPE: u8 = 3;
    pub(super) const HEADER: u8 = 4;
    pub(super) const FAULT_CODE: u8 = 5;
    pub(super) const FAULT_KIND: u8 = 6;
    pub(super) const FAULT_MESSAGE: u8 = 7;
    pub(super) const FAULT_DETAILS: u8 = 8;
    pub(super) const CRITICAL: u8 = 0x80;
    pub(super) const BODY: u8 = CRITICAL | 1;
}
