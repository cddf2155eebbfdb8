//! Changes to the fixed part of an encoded message.
//!
//! The balancer restamps the deadline of a request that waited for a connection: the envelope holds
//! the time that is left, not a point in time. A proxy replaces the call id of each message.
//! Neither decodes the message again.

use std::ops::Range;

use bytes::Bytes;
use polywire_core::Deadline;
#[cfg(feature = "engine-omq")]
use polywire_core::message::CallId;
use polywire_core::message::SentAt;

use super::encode::deadline_ms;
use super::frames::Frames;
#[cfg(feature = "engine-omq")]
use super::layout::ID_AT;
use super::layout::{DEADLINE_AT, FIXED, FLAGS_AT, SENT_AT, SENT_LEN, flag, tag};

/// Writes the time that is left until the deadline, and the present moment, into a message that
/// waited after it was encoded. A message without a deadline does not change.
///
/// The size of the envelope stays the same.
pub(crate) fn restamp(frames: &mut Frames, deadline: Deadline) {
    // The head is not shared yet, so this copies nothing.
    let mut head = Vec::from(std::mem::take(&mut frames.head));
    let has_deadline = head.get(FLAGS_AT).is_some_and(|flags| flags & flag::HAS_DEADLINE != 0);
    if let Some(bytes) = head.get_mut(DEADLINE_AT..FIXED).filter(|_| has_deadline) {
        bytes.copy_from_slice(&deadline_ms(Some(deadline)));
    }
    if let Some(bytes) = sent_range(&head).and_then(|range| head.get_mut(range)) {
        bytes.copy_from_slice(&SentAt::now().to_bytes());
    }
    frames.head = Bytes::from(head);
}

/// Returns the moment at which the remaining time of a request was written, by the clock of its
/// sender. `None` if the request has no such field, or has it in another place than the first.
pub(crate) fn sent_at(frames: &Frames) -> Option<SentAt> {
    let bytes = frames.head.get(sent_range(&frames.head)?)?;
    bytes.try_into().ok().map(SentAt::from_bytes)
}

/// Returns the place of the moment of sending, if it is the first field.
fn sent_range(head: &[u8]) -> Option<Range<usize>> {
    let field = head.get(FIXED..SENT_AT)?;
    (field == [tag::SENT, SENT_LEN as u8]).then_some(SENT_AT..SENT_AT + SENT_LEN)
}

/// Replaces the call id of a message.
///
/// The flag of a call id does not change, so the message has to have one. A head that is too short
/// stays as it is.
#[cfg(feature = "engine-omq")]
pub(crate) fn renumber(frames: &mut Frames, id: CallId) {
    // This copies the head only if the engine has packed several messages into one buffer.
    let mut head = Vec::from(std::mem::take(&mut frames.head));
    if let Some(bytes) = head.get_mut(ID_AT..DEADLINE_AT) {
        bytes.copy_from_slice(&id.0.to_be_bytes());
    }
    frames.head = Bytes::from(head);
}
