//! The bound of a peer on the size of a message. No I/O.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use polywire_core::Body;
use tokio::time::Instant;

use crate::lock::lock;
use crate::wire::Frames;

/// The largest message that a peer accepts, if the peer has stated it.
///
/// Each connection begins with a question. A peer of an earlier version does not answer it, and
/// disconnects over a message that is too large.
#[derive(Default)]
pub(super) struct PeerMessageMax {
    /// The bound, or 0 before the peer has stated one. A stated bound stays when the peer
    /// reconnects, until it states another.
    message_max: AtomicU64,
    /// The moment after which no answer to the question is waited for.
    patience: Mutex<Option<Instant>>,
}

/// The answer to whether a peer accepts a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The peer accepts the message, as far as is known.
    Fits,
    /// The peer accepts no message beyond this size.
    TooLarge(u64),
    /// The peer may state its bound until this moment.
    NotKnown(Instant),
}

impl PeerMessageMax {
    /// Notes that the peer is asked, in the first message of a connection. Without room for that
    /// message, the bound stays unknown.
    pub(super) fn ask(&self) {
        *lock(&self.patience) = Some(Instant::now() + PATIENCE);
    }

    /// Notes the answer.
    pub(super) fn learn(&self, message_max: u64) {
        self.message_max.store(message_max.max(1), Ordering::Release);
    }

    /// Compares a message with the bound.
    pub(super) fn fit(&self, frames: &Frames) -> Fit {
        let size = size(frames);
        match self.message_max.load(Ordering::Acquire) {
            0 if size <= SMALL => Fit::Fits,
            0 => match *lock(&self.patience) {
                Some(until) if Instant::now() < until => Fit::NotKnown(until),
                _ => Fit::Fits,
            },
            max if size > max => Fit::TooLarge(max),
            _ => Fit::Fits,
        }
    }
}

/// Returns the size of a message as bounds count it: its frames, and 64 bytes for each.
pub(super) fn size(frames: &Frames) -> u64 {
    let bytes = frames.head.len() + frames.body.as_ref().map_or(0, Body::len);
    let count = 1 + frames.body.as_ref().map_or(0, |body| body.frames().len());
    u64::try_from(bytes.saturating_add(count.saturating_mul(FRAME_COST))).unwrap_or(u64::MAX)
}

/// Bytes that each frame counts beyond its size.
const FRAME_COST: usize = 64;
/// The largest message that is sent before its peer has stated a bound: 64 KiB. Smaller bounds than
/// that are of little use.
const SMALL: u64 = 64 << 10;
/// The time for which a larger message waits for the bound of a peer that was just connected: 200
/// ms. A peer of an earlier version states none.
const PATIENCE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(size: usize) -> Frames {
        Frames { head: Bytes::from(vec![0; size - FRAME_COST]), body: None }
    }

    #[tokio::test(start_paused = true)]
    async fn large_messages_wait_for_the_bound_and_are_compared_with_it() {
        let bound = PeerMessageMax::default();
        assert_eq!(bound.fit(&message(1 << 20)), Fit::Fits, "the peer was not asked");
        bound.ask();
        let until = Instant::now() + PATIENCE;
        assert_eq!(bound.fit(&message(64 << 10)), Fit::Fits);
        assert_eq!(bound.fit(&message((64 << 10) + 1)), Fit::NotKnown(until));
        bound.learn(1000);
        assert_eq!(bound.fit(&message(1000)), Fit::Fits);
        assert_eq!(bound.fit(&message(1001)), Fit::TooLarge(1000));
        // A reconnected peer may have another bound.
        bound.ask();
        assert_eq!(bound.fit(&message(1001)), Fit::TooLarge(1000));
        bound.learn(u64::MAX);
        assert_eq!(bound.fit(&message(1001)), Fit::Fits);
    }

    #[tokio::test(start_paused = true)]
    async fn peer_that_does_not_answer_is_not_waited_for_longer() {
        let bound = PeerMessageMax::default();
        bound.ask();
        tokio::time::advance(PATIENCE).await;
        assert_eq!(bound.fit(&message(1 << 20)), Fit::Fits);
    }
}
