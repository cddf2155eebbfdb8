//! The exchange in which a client learns how large a message its server accepts.
//!
//! The question is a leave with a number that no server gives to its own notices. Servers of
//! earlier versions answer it, too: with the notice that they serve on, without a bound.

use polywire_core::Message;
use polywire_core::message::CallId;

use super::encode::{field, fixed};
use super::fixed::{FixedPart, length_in};
use super::frames::{Frames, Role};
use super::layout::{FIXED, kind, tag};

/// Returns the question of a client that has connected.
pub(crate) fn bound_question() -> Frames {
    let mut message = Message::default();
    message.id = Some(QUESTION);
    let mut head = Vec::with_capacity(FIXED);
    fixed(&Role::Leave, &message, &mut head);
    Frames { head: head.into(), body: None }
}

/// Returns the notice that a server serves on, with the largest message that it accepts.
pub(crate) fn serve_on(message_max: u64) -> Frames {
    // The field has a tag, a length of one byte, and eight bytes.
    let mut head = Vec::with_capacity(FIXED + 10);
    fixed(&Role::Leave, &Message::default(), &mut head);
    field(tag::MESSAGE_MAX, &message_max.to_be_bytes(), &mut head);
    Frames { head: head.into(), body: None }
}

/// Returns the bound in the notice of a server that it serves on, if there is one.
pub(crate) fn told_bound(frames: &Frames) -> Option<u64> {
    let head = &*frames.head;
    let part = FixedPart::read(head).ok()?;
    if part.kind != kind::LEAVE || part.id.is_some() {
        return None;
    }
    let mut at = FIXED;
    while let Some(&tag) = head.get(at) {
        let (length, size) = length_in(head.get(at + 1..)?, at + 1).ok()?;
        let value = head.get(at + 1 + size..)?.get(..length)?;
        if tag == tag::MESSAGE_MAX {
            return Some(u64::from_be_bytes(value.try_into().ok()?));
        }
        at += 1 + size + length;
    }
    None
}

/// The number of the question. The two above it are those of a server that leaves.
const QUESTION: CallId = CallId(u64::MAX - 2);

#[cfg(test)]
mod tests {
    use polywire_core::Limits;

    use super::*;
    use crate::wire;

    #[test]
    fn bound_is_read_from_the_answer_alone() {
        assert_eq!(told_bound(&serve_on(70_000)), Some(70_000));
        assert_eq!(told_bound(&bound_question()), None);
        // A server of an earlier version.
        let plain = Message::default();
        let plain = wire::encode(&Role::Leave, plain, &Limits::default()).unwrap();
        assert_eq!(told_bound(&plain), None);
        for cut in 0..serve_on(1).head.len() {
            let head = serve_on(1).head.slice(..cut);
            assert_eq!(told_bound(&Frames { head, body: None }), None, "{cut}");
        }
    }

    /// Peers of earlier versions skip the field, and answer the question.
    #[test]
    fn both_messages_are_leaves() {
        let limits = Limits::default();
        let (role, message) = wire::decode(serve_on(1), &limits).unwrap();
        assert_eq!((role, message.id), (Role::Leave, None));
        let (role, message) = wire::decode(bound_question(), &limits).unwrap();
        assert_eq!((role, message.id), (Role::Leave, Some(QUESTION)));
    }
}
