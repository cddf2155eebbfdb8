//! Conversion between frames and messages of the crate.
//!
//! The crate requires that a message has a frame. The first one is the envelope, and all others are
//! the body. The bytes are shared in both directions and never copied.

use bytes::Bytes;
use polywire_core::Body;
use zeromq::ZmqMessage;

use crate::wire::Frames;

/// Converts frames to a message.
pub(super) fn message_of(Frames { head, body }: Frames) -> ZmqMessage {
    let mut message = ZmqMessage::from(head);
    for frame in body.iter().flat_map(Body::frames) {
        message.push_back(frame.clone());
    }
    message
}

/// Converts frames to a message with one more frame in front: the topic of an event.
pub(super) fn message_under(first: Bytes, frames: Frames) -> ZmqMessage {
    let mut message = message_of(frames);
    message.push_front(first);
    message
}

/// Converts a message to frames, with at most `frames_max + 1` frames in the body. The check of the
/// limits rejects a body that was cut.
pub(super) fn frames_of(message: ZmqMessage, frames_max: usize) -> Frames {
    split(message.into_vecdeque().into_iter(), frames_max)
}

/// Converts an event to its first frame and the other frames, as [`frames_of`] does.
pub(super) fn event_of(message: ZmqMessage, frames_max: usize) -> (Bytes, Frames) {
    let mut frames = message.into_vecdeque().into_iter();
    let first = frames.next().unwrap_or_default();
    (first, split(frames, frames_max))
}

fn split(mut frames: impl ExactSizeIterator<Item = Bytes>, frames_max: usize) -> Frames {
    let head = frames.next().unwrap_or_default();
    let has_body = frames.len() > 0;
    let body = frames.take(frames_max.saturating_add(1));
    Frames { head, body: has_body.then(|| Body::from_frames(body)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_too_many_frames_is_cut_one_beyond_the_limit() {
        for (count, frames) in [(2, 1), (65, 64), (66, 65), (67, 65), (1000, 65)] {
            let mut message = ZmqMessage::from(Bytes::new());
            (1..count).for_each(|_| message.push_back(Bytes::new()));
            let body = frames_of(message, 64).body.unwrap();
            assert_eq!(body.frames().len(), frames, "of {count} parts");
        }
        assert_eq!(frames_of(ZmqMessage::from(Bytes::new()), 64).body, None);
    }
}
