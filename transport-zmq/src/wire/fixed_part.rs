//! The fixed part of the envelope, and the encoding of lengths after it.

use polywire_core::message::CallId;
use polywire_core::{Error, ErrorKind, Result};

use super::layout::{FIXED, MAGIC, VERSION, flag, kind};

/// The first 16 bytes of an envelope.
pub(super) struct FixedPart {
    /// The kind of message, which is one of [`kind`].
    pub(super) kind: u8,
    /// The call id, if the flags say that there is one.
    pub(super) id: Option<CallId>,
    /// The milliseconds until the deadline, if the flags say that there is one.
    pub(super) deadline_ms: Option<u32>,
    /// The flag of an idempotent request.
    pub(super) idempotent: bool,
    /// The flag of a request that must never be begun twice.
    pub(super) at_most_once: bool,
}

impl FixedPart {
    /// Returns whether an envelope begins a batch of messages.
    ///
    /// [`read`](Self::read) refuses the kind of batches, so that a batch holds no batch.
    pub(super) fn is_batch(head: &[u8]) -> bool {
        head.len() >= FIXED && head.starts_with(&[MAGIC, VERSION, kind::BATCH])
    }

    /// Returns whether an envelope has the kind of a leave. It may be malformed.
    pub(super) fn may_be_leave(head: &[u8]) -> bool {
        head.get(2) == Some(&kind::LEAVE)
    }

    /// Reads the fixed part of an envelope.
    ///
    /// # Errors
    ///
    /// `Codec` if the envelope is too short, does not begin with the magic byte, or has an unknown
    /// version or kind.
    pub(super) fn read(head: &[u8]) -> Result<Self> {
        let Some((&[magic, version, kind, flags, ref numbers @ ..], _)) =
            head.split_first_chunk::<FIXED>()
        else {
            return Err(malformed("cannot decode the envelope: it ends early", head.len()));
        };
        if magic != MAGIC {
            return Err(malformed("cannot decode the envelope: it does not begin with 0x50", 0));
        }
        if version != VERSION {
            return Err(malformed("cannot decode the envelope: unknown version", 1)
                .with("version", version));
        }
        if !(kind::REQUEST..=kind::LEAVE).contains(&kind) {
            return Err(malformed("cannot decode the envelope: unknown kind of message", 2)
                .with("kind", kind));
        }
        let &[a, b, c, d, e, f, g, h, ref deadline @ ..] = numbers;
        let (id, deadline_ms) =
            (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes(*deadline));
        Ok(Self {
            kind,
            id: (flags & flag::HAS_ID != 0).then_some(CallId(id)),
            deadline_ms: (flags & flag::HAS_DEADLINE != 0).then_some(deadline_ms),
            idempotent: flags & flag::IS_IDEMPOTENT != 0,
            at_most_once: flags & flag::IS_AT_MOST_ONCE != 0,
        })
    }
}

/// Reads the length at the beginning of `bytes`. Returns the length, and the number of bytes that
/// encode it. `at` is the position of `bytes` in the envelope, for the error.
///
/// # Errors
///
/// `Codec` if the bytes end within the length, or the length has more than four bytes.
pub(super) fn length_in(bytes: &[u8], at: usize) -> Result<(usize, usize)> {
    let mut length = 0;
    // Four bytes encode up to 256 MiB, far beyond any envelope.
    for (i, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((length, i + 1));
        }
    }
    Err(malformed(
        if bytes.len() < 4 {
            "cannot decode the envelope: a length ends early"
        } else {
            "cannot decode the envelope: a length is longer than 4 bytes"
        },
        at,
    ))
}

/// Returns the error of a malformed envelope, with the position of the byte at fault.
pub(super) fn malformed(what: &'static str, at: usize) -> Error {
    Error::new(ErrorKind::Codec, what).with("byte", at)
}
