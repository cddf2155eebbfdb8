//! Conversion between frames and messages of the engine.
//!
//! A message of the engine is a list of frames without structure. For this crate, the first frame
//! is the envelope, and all others are the body. The bytes are shared in both directions and never
//! copied.

use bytes::Bytes;
use omq_tokio::Message;
use polywire_core::Body;

use crate::wire::Frames;

/// Converts frames to a message, without copying their bytes.
pub(super) fn message_of(Frames { head, body }: Frames) -> Message {
    match body {
        None => Message::single(head),
        Some(body) if body.as_slice().is_some() => Message::multipart([head, body.into_bytes()]),
        Some(body) => Message::multipart(std::iter::once(head).chain(body.frames().cloned())),
    }
}

/// Converts frames to a message with one more frame in front: the topic of an event, which
/// subscriptions are compared with.
pub(super) fn message_under(first: Bytes, Frames { head, body }: Frames) -> Message {
    match body {
        None => Message::multipart([first, head]),
        Some(body) => Message::multipart([first, head].into_iter().chain(body.frames().cloned())),
    }
}

/// Converts a received message to frames, with at most `frames_max + 1` frames in the body.
///
/// A longer body is cut to one frame beyond the limit, so that the check of the limits rejects
/// it. Removing all its frames one by one would take quadratic time in a number that the peer
/// chose.
pub(super) fn frames_of(mut message: Message, frames_max: usize) -> Frames {
    let parts_max = frames_max.saturating_add(2);
    if message.len() >= parts_max {
        let mut parts = message.iter().take(parts_max);
        return Frames {
            head: parts.next().unwrap_or_default(),
            body: Some(Body::from_frames(parts)),
        };
    }
    let head = message.pop_front().unwrap_or_default();
    if message.is_empty() {
        return Frames { head, body: None };
    }
    Frames { head, body: Some(Body::from_frames(std::iter::from_fn(|| message.pop_front()))) }
}

/// Converts a message that the engine had no room for. It was within the limits before.
pub(super) fn unsent_frames(message: Message) -> Frames {
    frames_of(message, usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(count: usize) -> Message {
        Message::multipart((0..count).map(|_| Bytes::new()))
    }

    #[test]
    fn a_body_of_too_many_frames_is_cut_one_beyond_the_limit() {
        for (count, frames) in [(2, 1), (65, 64), (66, 65), (67, 65), (1000, 65)] {
            let body = frames_of(parts(count), 64).body.unwrap();
            assert_eq!(body.frames().len(), frames, "of {count} parts");
        }
        assert_eq!(frames_of(parts(1), 64).body, None);
        assert_eq!(unsent_frames(parts(1000)).body.unwrap().frames().len(), 999);
    }

    #[test]
    fn a_million_empty_parts_do_not_block_the_reader() {
        // Removed from the front one by one, they would take hours.
        let frames = frames_of(parts(1_000_000), 64);
        assert_eq!(frames.body.unwrap().frames().len(), 65);
    }
}
