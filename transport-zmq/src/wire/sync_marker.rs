//! Markers by which a subscriber learns that its publishers have its subscriptions.
//!
//! The subscriber waits for the answers in
//! `transport-zmq/src/subscriber/subscriptions/publisher_sync.rs`; publishers and proxies send them
//! in `transport-zmq/src/publisher.rs`.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use polywire_core::Body;

use super::frames::Frames;

/// A topic outside of all channels, by which a subscriber synchronizes with its publishers.
///
/// The subscriber subscribes to the marker after all other topics, and the publisher answers on it.
/// The answer proves that the publisher has all subscriptions that the subscriber sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyncMarker(Bytes);

impl SyncMarker {
    /// Makes a marker that no other subscriber uses.
    pub(crate) fn fresh() -> Self {
        Self([PREFIX, &unique()].concat().into())
    }

    /// Reads a marker from a first frame or a subscription.
    ///
    /// `None` for any other frame. The marker shares the memory of the frame.
    pub(crate) fn read(frame: &Bytes) -> Option<Self> {
        Self::is_marker(frame).then(|| Self(frame.clone()))
    }

    /// Returns whether a first frame or a subscription is a marker.
    pub(crate) fn is_marker(frame: &[u8]) -> bool {
        frame.len() == PREFIX.len() + UNIQUE && frame.starts_with(PREFIX)
    }

    /// Returns the first frame of an answer, which is also the subscription.
    pub(crate) fn frame(&self) -> &Bytes {
        &self.0
    }

    /// Makes the second frame of an answer: the publisher, and the number of its connections that
    /// subscribe to the marker. Each of those connections gets the answer.
    pub(crate) fn answer(publisher: &[u8; UNIQUE], connections: u32) -> Bytes {
        [&publisher[..], &connections.to_be_bytes()].concat().into()
    }

    /// Makes the third frame of an answer: the number of subscriptions that the publisher accepts.
    pub(crate) fn accepted_max(max: usize) -> Body {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        Bytes::copy_from_slice(&max.to_be_bytes()).into()
    }

    /// Reads the number of subscriptions that the publisher accepts. `None` if the answer has
    /// none.
    pub(crate) fn read_accepted_max(frames: &Frames) -> Option<usize> {
        let max = frames.body.as_ref()?.as_slice()?;
        usize::try_from(u32::from_be_bytes(max.try_into().ok()?)).ok()
    }

    /// Reads the publisher and its number of connections from the second frame of an answer.
    ///
    /// `None` for a frame that has not exactly 20 bytes.
    pub(crate) fn read_answer(frame: &[u8]) -> Option<([u8; UNIQUE], u32)> {
        let (publisher, connections) = frame.split_first_chunk::<UNIQUE>()?;
        let connections = u32::from_be_bytes(connections.try_into().ok()?);
        Some((*publisher, connections))
    }
}

/// The beginning of every marker: a zero byte, since no channel begins with one.
const PREFIX: &[u8] = b"\0hello\0";

/// The size in bytes of an identifier made by [`unique`].
pub(crate) const UNIQUE: usize = 16;

/// Makes an identifier that no other call and no other process makes.
///
/// Eight bytes are drawn once for the process, and eight count the calls. The result is not secret.
pub(crate) fn unique() -> [u8; UNIQUE] {
    static LAST: AtomicU64 = AtomicU64::new(0);
    // Hash map keys are the only source of randomness in the standard library.
    static PROCESS: LazyLock<u64> = LazyLock::new(|| {
        use std::hash::{BuildHasher, RandomState};

        RandomState::new().hash_one(std::process::id())
    });
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    (u128::from(*PROCESS) << 64 | u128::from(number)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use polywire_core::Address;

    use super::super::topic::Channel;
    use super::*;

    #[test]
    fn markers_differ_and_other_frames_are_none() {
        let (one, other) = (SyncMarker::fresh(), SyncMarker::fresh());
        assert_ne!(one, other);
        assert_eq!(SyncMarker::read(one.frame()), Some(one.clone()));
        assert!(Channel::new(&Address::new("weather").unwrap()).topic(one.frame()).is_none());
        for frame in [&b""[..], b"\0hello\0", b"\0hello\0abc", b"weather\0a"] {
            assert_eq!(SyncMarker::read(&Bytes::from_static(frame)), None);
        }
        let answer = SyncMarker::answer(&[7; UNIQUE], 3);
        assert_eq!(SyncMarker::read_answer(&answer), Some(([7; UNIQUE], 3)));
        for frame in [&b""[..], &answer[1..], &[&answer[..], b"x"].concat()] {
            assert_eq!(SyncMarker::read_answer(frame), None);
        }
    }
}
