//! Changes to the fixed part of an encoded message.

use bytes::Bytes;
use polywire_core::Deadline;
#[cfg(feature = "engine-omq")]
use polywire_core::message::CallId;

use super::encode::deadline_ms;
use super::frames::Frames;
#[cfg(feature = "engine-omq")]
use super::layout::ID_AT;
use super::layout::{DEADLINE_AT, FIXED, FLAGS_AT, flag};

/// Writes the time that is left until the deadline into a message that waited after it was
/// encoded. A message without a deadline does not change.
pub(crate) fn restamp(frames: &mut Frames, deadline: Deadline) {
    // The head is not shared yet, so this copies nothing.
    let mut head = Vec::from(std::mem::take(&mut frames.head));
    let has_deadline = head.get(FLAGS_AT).is_some_and(|flags| flags & flag::HAS_DEADLINE != 0);
    if let Some(bytes) = head.get_mut(DEADLINE_AT..FIXED).filter(|_| has_deadline) {
        bytes.copy_from_slice(&deadline_ms(Some(deadline)));
    }
    frames.head = Bytes::from(head);
}

/// Replaces the call id of a message.
#[cfg(feature = "engine-omq")]
pub(crate) fn renumber(frames: &mut Frames, id: CallId) {
    // This copies the head only if the engine has packed several messages into one buffer.
    let mut head = Vec::from(std::mem::take(&mut frames.head));
    if let Some(bytes) = head.get_mut(ID_AT..DEADLINE_AT) {
        bytes.copy_from_slice(&id.0.to_be_bytes());
    }
    frames.head = Bytes::from(head);
}
