//! The exchange in which a client learns how large a message its server accepts, and each side how
//! large a batch the other one reads.
//!
//! The question is a leave with a number that no server gives to its own notices. Servers of
//! earlier versions answer it, too: with the notice that they serve on, without a bound.

use polywire_core::Message;
use polywire_core::message::CallId;

use super::encode::{field, fixed};
use super::fixed_part::{FixedPart, length_in};
use super::frames::Frames;
use super::layout::{FIXED, kind, tag};
use super::message_role::MessageRole;

/// The bounds of a peer, as far as it has stated them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatedBounds {
    /// The largest message that the peer accepts: its frames, and 64 bytes for each.
    pub(crate) message_max: Option<u64>,
    /// The largest [batch](super::batch) in bytes that the peer reads. `None` if it reads none.
    pub(crate) batch_max: Option<u64>,
}

/// Returns the question of a client that has connected, with its own bounds.
///
/// Sent as the first message of a connection, and behind the last one-way call.
pub(crate) fn bound_question(own: StatedBounds) -> Frames {
    let mut message = Message::default();
    message.id = Some(QUESTION);
    stating(&message, own)
}

/// Returns the notice that a server serves on, with its bounds.
pub(crate) fn serve_on(own: StatedBounds) -> Frames {
    stating(&Message::default(), own)
}

/// Returns a leave that states bounds.
fn stating(leave: &Message, bounds: StatedBounds) -> Frames {
    // Each field has a tag, a length of one byte, and eight bytes.
    let mut head = Vec::with_capacity(FIXED + 20);
    fixed(&MessageRole::Leave, leave, &mut head);
    let fields = [(tag::MESSAGE_MAX, bounds.message_max), (tag::BATCH_MAX, bounds.batch_max)];
    for (tag, bound) in fields {
        if let Some(bound) = bound {
            field(tag, &bound.to_be_bytes(), &mut head);
        }
    }
    Frames { head: head.into(), body: None }
}

/// Returns the bounds in the notice of a server that it serves on. `None` for another message.
pub(crate) fn stated_bounds(frames: &Frames) -> Option<StatedBounds> {
    let part = FixedPart::read(&frames.head).ok()?;
    (part.kind == kind::LEAVE && part.id.is_none()).then(|| stated(&frames.head))
}

/// Returns the bounds in the question of a client. `None` for another message.
pub(crate) fn asked_bounds(frames: &Frames) -> Option<StatedBounds> {
    // Asked about each message that a server receives.
    if !FixedPart::may_be_leave(&frames.head) {
        return None;
    }
    let part = FixedPart::read(&frames.head).ok()?;
    (part.kind == kind::LEAVE && part.id == Some(QUESTION)).then(|| stated(&frames.head))
}

/// Reads the bounds that a leave states. What follows a malformed field is passed over.
///
/// A bound whose value has not 8 bytes counts as not stated.
fn stated(head: &[u8]) -> StatedBounds {
    let (mut bounds, mut at) = (StatedBounds::default(), FIXED);
    while let Some((tag, value, end)) = field_at(head, at) {
        let bound = value.try_into().ok().map(u64::from_be_bytes);
        match tag {
            tag::MESSAGE_MAX => bounds.message_max = bound,
            tag::BATCH_MAX => bounds.batch_max = bound,
            _ => {}
        }
        at = end;
    }
    bounds
}

/// Returns the tag and the value of the field at a position, and where it ends.
fn field_at(head: &[u8], at: usize) -> Option<(u8, &[u8], usize)> {
    let tag = *head.get(at)?;
    let (length, size) = length_in(head.get(at + 1..)?, at + 1).ok()?;
    let value = head.get(at + 1 + size..)?.get(..length)?;
    Some((tag, value, at + 1 + size + length))
}

/// The number of the question. The two above it are those of a server that leaves.
const QUESTION: CallId = CallId(u64::MAX - 2);

#[cfg(test)]
mod tests {
    use polywire_core::Limits;

    use super::*;
    use crate::wire;

    const BOUNDS: StatedBounds =
        StatedBounds { message_max: Some(70_000), batch_max: Some(16_000) };

    #[test]
    fn bounds_are_read_from_the_answer_and_the_question() {
        for bounds in [BOUNDS, StatedBounds { batch_max: None, ..BOUNDS }, StatedBounds::default()]
        {
            assert_eq!(stated_bounds(&serve_on(bounds)), Some(bounds));
            assert_eq!(stated_bounds(&bound_question(bounds)), None);
            assert_eq!(asked_bounds(&bound_question(bounds)), Some(bounds));
            assert_eq!(asked_bounds(&serve_on(bounds)), None);
        }
        // A server of an earlier version.
        let plain = Message::default();
        let plain = wire::encode(&MessageRole::Leave, plain, &Limits::default()).unwrap();
        assert_eq!(stated_bounds(&plain), Some(StatedBounds::default()));
        for cut in 0..serve_on(BOUNDS).head.len() {
            let head = serve_on(BOUNDS).head.slice(..cut);
            let cut = stated_bounds(&Frames { head, body: None });
            assert!(cut.is_none_or(|bounds| bounds.batch_max.is_none()), "{cut:?}");
        }
    }

    /// Peers of earlier versions skip the fields, and answer the question.
    #[test]
    fn both_messages_are_leaves() {
        let limits = Limits::default();
        let (role, message) = wire::decode(serve_on(BOUNDS), &limits).unwrap();
        assert_eq!((role, message.id), (MessageRole::Leave, None));
        let (role, message) = wire::decode(bound_question(BOUNDS), &limits).unwrap();
        assert_eq!((role, message.id), (MessageRole::Leave, Some(QUESTION)));
    }
}
