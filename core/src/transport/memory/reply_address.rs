//! Reply addresses: the number of a requester's reply queue, as 8 little-endian bytes.

use bytes::Bytes;

use crate::message::{Message, ReplyTo};

/// Encodes the number of a reply queue.
pub(super) fn encode(id: u64) -> ReplyTo {
    ReplyTo::new(Bytes::copy_from_slice(&id.to_le_bytes()))
}

/// Decodes the reply address of `message`.
pub(super) fn decode(message: &Message) -> Option<u64> {
    number(message.reply_to.as_ref()?.as_bytes())
}

/// Decodes a number of 8 little-endian bytes.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}
