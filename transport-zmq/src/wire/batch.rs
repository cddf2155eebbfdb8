//! Several messages as one ZeroMQ message.
//!
//! A batch has a fixed part of kind [`BATCH`](kind::BATCH), then its messages. Each is a length in
//! four bytes, big-endian, and an envelope that holds its body. Each keeps its own call id,
//! deadline and fields, so that its receiver handles it as if it had come alone. A batch holds no
//! batch. It is sent to a peer that has stated the largest batch that it reads.

use bytes::{BufMut, Bytes, BytesMut};

use super::fixed_part::FixedPart;
use super::frames::Frames;
use super::layout::{FIXED, MAGIC, VERSION, kind};

/// The largest batch in bytes that is written or read: 16 KiB. A small body that its receiver
/// keeps, keeps the memory of its batch.
pub(crate) const BATCH_MAX: usize = 16 << 10;
/// The largest envelope in bytes that goes into a batch: 2 KiB. Joining larger ones saves little.
const MESSAGE_MAX: usize = 2 << 10;
/// The memory in bytes that a batch begins with: 1 KiB.
const RESERVED: usize = 1 << 10;
/// The size of a length in bytes.
const LENGTH: usize = 4;

/// A batch that is being written.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The fixed part and the messages so far. Empty without messages.
    bytes: BytesMut,
    count: usize,
}

impl Batch {
    /// Returns whether a message may be part of a batch: it is small, and one frame.
    pub(crate) fn may_hold(frames: &Frames) -> bool {
        frames.body.is_none() && frames.head.len() <= MESSAGE_MAX
    }

    /// Returns whether the batch has no message.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the number of messages.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Returns whether the batch with one more message would have at most `max` bytes.
    ///
    /// Only the envelope of the message counts, with its length in four bytes.
    pub(crate) fn has_room(&self, frames: &Frames, max: usize) -> bool {
        self.bytes.len().max(FIXED) + LENGTH + frames.head.len() <= max
    }

    /// Adds a message, which must be [one for batches](Self::may_hold).
    pub(crate) fn push(&mut self, frames: &Frames) {
        if self.bytes.is_empty() {
            self.bytes.reserve(RESERVED);
            self.bytes.put_slice(&[MAGIC, VERSION, kind::BATCH, 0]);
            self.bytes.put_bytes(0, FIXED - 4);
        }
        // An envelope for batches is far smaller than 4 GiB.
        self.bytes.put_u32(u32::try_from(frames.head.len()).unwrap_or(u32::MAX));
        self.bytes.put_slice(&frames.head);
        self.count += 1;
    }

    /// Takes all messages, as one ZeroMQ message. A sole message leaves as it came.
    ///
    /// The batch is empty then. An empty batch yields an empty envelope.
    pub(crate) fn take(&mut self) -> Frames {
        let bytes = std::mem::take(&mut self.bytes);
        let head = match std::mem::take(&mut self.count) {
            // Without the memory of a batch.
            1 => Bytes::copy_from_slice(&bytes[FIXED + LENGTH..]),
            _ => bytes.freeze(),
        };
        Frames { head, body: None }
    }

    /// Puts the messages back that [`take`](Self::take) has returned, before any other is added.
    pub(crate) fn put_back(&mut self, frames: Frames) {
        for message in Batched::new(frames) {
            self.push(&message);
        }
    }
}

/// The messages of a ZeroMQ message: those of a batch in their order, or the message itself.
///
/// A malformed batch yields its well-formed messages, then the rest of its bytes, which is no
/// message and fails to decode. So is one that is larger than was stated: a message that is kept
/// would keep its memory.
pub(crate) struct Batched {
    /// The next messages, or a message that is no batch.
    rest: Option<Frames>,
    /// Set if each of the messages has a length in front.
    is_batch: bool,
}

impl Batched {
    /// Takes a message apart.
    pub(crate) fn new(frames: Frames) -> Self {
        let is_batch = Self::is_batch(&frames);
        if !is_batch {
            return Self { rest: Some(frames), is_batch };
        }
        let messages = frames.head.slice(FIXED..);
        let rest = (!messages.is_empty()).then_some(Frames { head: messages, body: None });
        Self { rest, is_batch }
    }

    /// Returns whether there are more messages.
    pub(super) fn has_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// Returns whether a message is a batch.
    pub(crate) fn is_batch(frames: &Frames) -> bool {
        FixedPart::is_batch(&frames.head) && frames.body.is_none() && frames.head.len() <= BATCH_MAX
    }
}

impl Iterator for Batched {
    type Item = Frames;

    fn next(&mut self) -> Option<Frames> {
        let frames = self.rest.take()?;
        if !self.is_batch {
            return Some(frames);
        }
        let mut head = frames.head;
        let Some(message) = split_first(&mut head) else {
            return Some(Frames { head, body: None });
        };
        if !head.is_empty() {
            self.rest = Some(Frames { head, body: None });
        }
        Some(Frames { head: message, body: None })
    }
}

/// Takes the first message off the bytes of a batch. `None` if it is not whole.
fn split_first(bytes: &mut Bytes) -> Option<Bytes> {
    let length = u32::from_be_bytes(*bytes.first_chunk::<LENGTH>()?);
    let end = LENGTH.checked_add(usize::try_from(length).ok()?)?;
    if bytes.len() < end {
        return None;
    }
    Some(bytes.split_to(end).slice(LENGTH..))
}

#[cfg(test)]
mod tests {
    use polywire_core::Limits;

    use super::*;
    use crate::wire;

    fn message(head: &'static [u8]) -> Frames {
        Frames { head: head.into(), body: None }
    }

    fn batch(messages: &[&'static [u8]]) -> Batch {
        let mut batch = Batch::default();
        messages.iter().for_each(|head| batch.push(&message(head)));
        batch
    }

    #[test]
    fn messages_leave_as_they_came() {
        let mut batch = batch(&[b"one", b"", b"three"]);
        let joined = batch.take();
        assert!(batch.is_empty());
        assert!(Batched::is_batch(&joined));
        let batched = Batched::new(joined.clone());
        assert_eq!(batched.collect::<Vec<_>>(), [message(b"one"), message(b""), message(b"three")]);
        batch.put_back(joined.clone());
        batch.push(&message(b"four"));
        assert_eq!(Batched::new(batch.take()).count(), 4);
        // Its memory is written anew.
        batch.push(&message(b"five"));
        assert_eq!(batch.take(), message(b"five"));
        assert_eq!(Batched::new(joined).count(), 3);
    }

    #[test]
    fn other_messages_are_themselves() {
        let plain = Frames { head: Bytes::from_static(b"x"), body: Some("body".into()) };
        let question = wire::bound_question(wire::StatedBounds::default());
        for frames in [plain, question, message(b"")] {
            assert!(!Batched::is_batch(&frames));
            assert_eq!(Batched::new(frames.clone()).collect::<Vec<_>>(), [frames]);
        }
    }

    #[test]
    fn room_counts_the_fixed_part_and_the_lengths() {
        let mut batch = Batch::default();
        let [largest, larger] =
            [FIXED + LENGTH + 5, FIXED + 2 * (LENGTH + 5)].map(|max| (max, max - 1));
        assert!(batch.has_room(&message(b"12345"), largest.0));
        assert!(!batch.has_room(&message(b"12345"), largest.1));
        batch.push(&message(b"12345"));
        assert!(batch.has_room(&message(b"12345"), larger.0));
        assert!(!batch.has_room(&message(b"12345"), larger.1));
        batch.push(&message(b"12345"));
        assert_eq!(batch.take().head.len(), larger.0);
        assert!(!Batch::may_hold(&Frames { head: Bytes::new(), body: Some("body".into()) }));
        assert!(!Batch::may_hold(&Frames { head: vec![0; MESSAGE_MAX + 1].into(), body: None }));
    }

    #[test]
    fn malformed_batches_end_with_what_cannot_be_decoded() {
        let whole = batch(&[b"one", b"two"]).take().head;
        for end in FIXED..whole.len() {
            let head = whole.slice(..end);
            let messages: Vec<_> = Batched::new(Frames { head, body: None }).collect();
            assert!(messages.len() <= 2, "{end}");
            if end > FIXED && end != FIXED + LENGTH + 3 {
                let last = messages.into_iter().last().unwrap();
                assert!(wire::decode(last, &Limits::default()).is_err(), "{end}");
            }
        }
        let mut large = whole.to_vec();
        large.resize(BATCH_MAX + 1, 0);
        let large = Frames { head: large.into(), body: None };
        assert!(!Batched::is_batch(&large));
        assert!(wire::decode(Batched::new(large).last().unwrap(), &Limits::default()).is_err());
        // A batch in a batch is a message of an unknown kind.
        let mut outer = Batch::default();
        outer.push(&batch(&[b"one", b"two"]).take());
        outer.push(&message(b"three"));
        let inner = Batched::new(outer.take()).next().unwrap();
        assert!(wire::decode(inner, &Limits::default()).is_err());
    }
}
