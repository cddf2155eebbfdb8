//! The numbers of the envelope: positions, sizes, kinds, flags and field tags.
//!
//! The fixed part has 16 bytes, with big-endian numbers:
//!
//! ```text
//! 0  magic    3  flags
//! 1  version  4  call id, 8 bytes
//! 2  kind     12 deadline in milliseconds, 4 bytes
//! ```
//!
//! Fields follow until the end of the frame. Each has a tag of one byte, a length in LEB128 of up
//! to four bytes, and its value.

use polywire_core::Limits;

/// Returns the largest envelope in bytes that is encoded, or accepted from a peer, under these
/// limits.
pub(crate) fn head_max(limits: &Limits) -> usize {
    limits.header_bytes_max.saturating_add(FIELDS_MAX + INLINE_MAX)
}

/// The first byte of every envelope.
pub(super) const MAGIC: u8 = 0x50;
/// The version of this layout.
pub(super) const VERSION: u8 = 1;
/// The size of the fixed part: magic, version, kind, flags, 8 bytes of call id, 4 bytes of
/// deadline.
pub(super) const FIXED: usize = 16;
/// The position of the call id.
#[cfg(feature = "engine-omq")]
pub(super) const ID_AT: usize = 4;
/// The position of the flags.
pub(super) const FLAGS_AT: usize = 3;
/// The position of the deadline.
pub(super) const DEADLINE_AT: usize = 12;
/// The position of the moment of sending in a message with a deadline, whose first field it is.
pub(super) const SENT_AT: usize = FIXED + 2;
/// The size of the moment of sending in bytes.
pub(super) const SENT_LEN: usize = 16;
/// The room in bytes for all fields except headers: names of services and methods, and a fault
/// with its details.
pub(super) const FIELDS_MAX: usize = 64 << 10;

/// The largest body in bytes that is part of the envelope. A separate frame costs about as much as
/// copying this many bytes.
pub(super) const INLINE_MAX: usize = 4 << 10;

/// Values of the third byte: the kind of message.
pub(super) mod kind {
    pub(in crate::wire) const REQUEST: u8 = 1;
    pub(in crate::wire) const REPLY: u8 = 2;
    pub(in crate::wire) const REFUSAL: u8 = 3;
    pub(in crate::wire) const JOB: u8 = 4;
    pub(in crate::wire) const EVENT: u8 = 5;
    pub(in crate::wire) const CANCEL: u8 = 6;
    pub(in crate::wire) const LOSS: u8 = 7;
    pub(in crate::wire) const LEAVE: u8 = 8;
    pub(in crate::wire) const BATCH: u8 = 9;
}

/// Bits of the fourth byte.
pub(super) mod flag {
    pub(in crate::wire) const HAS_ID: u8 = 1;
    pub(in crate::wire) const HAS_DEADLINE: u8 = 2;
    pub(in crate::wire) const IS_IDEMPOTENT: u8 = 4;
    /// No server may begin the request after another one has.
    pub(in crate::wire) const IS_AT_MOST_ONCE: u8 = 8;
}

/// Field numbers. A reader skips an unknown field unless the highest bit of its number is set.
pub(super) mod tag {
    /// The service of a request or a cancel, or the queue of a job: an address.
    pub(in crate::wire) const SERVICE: u8 = 1;
    /// The method: an address.
    pub(in crate::wire) const METHOD: u8 = 2;
    /// The media type of the body, in UTF-8.
    pub(in crate::wire) const CONTENT_TYPE: u8 = 3;
    /// One header: the length of its name, the name, and the value, in UTF-8. May occur several
    /// times.
    pub(in crate::wire) const HEADER: u8 = 4;
    /// The code of a fault, one byte. The other parts of the fault follow.
    pub(in crate::wire) const FAULT_CODE: u8 = 5;
    pub(in crate::wire) const FAULT_KIND: u8 = 6;
    pub(in crate::wire) const FAULT_MESSAGE: u8 = 7;
    pub(in crate::wire) const FAULT_DETAILS: u8 = 8;
    /// The moment at which the deadline was written, 16 bytes. If present, the first field.
    pub(in crate::wire) const SENT: u8 = 9;
    pub(in crate::wire) const MESSAGE_ID: u8 = 10;
    /// The mark of a fault that another attempt would end with, too. Empty.
    pub(in crate::wire) const FAULT_IS_PERMANENT: u8 = 11;
    /// The largest message that the sender of a leave accepts, 8 bytes.
    pub(in crate::wire) const MESSAGE_MAX: u8 = 12;
    /// The largest batch that the sender of a leave reads, 8 bytes.
    pub(in crate::wire) const BATCH_MAX: u8 = 13;
    /// The bit of a field that a reader must know. An unknown one makes the message malformed.
    pub(in crate::wire) const CRITICAL: u8 = 0x80;
    /// A body that is part of the envelope. Absent if body frames follow.
    pub(in crate::wire) const BODY: u8 = CRITICAL | 1;
}
