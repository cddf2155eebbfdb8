//! Byte budgets of peers: engines bound messages by number only.
//!
//! Without a budget, 1,000 messages of the largest size could be unsent for each peer. The budget
//! bounds memory; what to do with a sender that finds the budget used up is decided elsewhere.
//! Requests wait in the [balancer](crate::balancer), events in the XPUB socket, and replies as
//! [`SlowCallers`](crate::responder::SlowCallers) says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use polywire_core::Body;
use tokio::sync::Notify;

use crate::wire::Frames;

/// A count of the unsent bytes that an engine holds for one peer, with a bound.
///
/// The count follows the memory: each counted frame carries a guard, and the count falls when the
/// engine drops the frame. An engine drops a frame after writing it or when the peer is gone, so no
/// event of the engine can be missed. The cost is one allocation per counted frame, which is why
/// small messages are not counted.
pub(crate) struct ByteBudget {
    /// The bound in bytes, see [`ZmqBuilder::peer_bytes_max`](crate::ZmqBuilder::peer_bytes_max).
    max: usize,
    /// Bytes of the counted frames that the engine holds.
    used: AtomicUsize,
    /// Number of frames that have been released.
    releases: AtomicU64,
    /// Signals that the count has fallen below the bound. Not signaled while it stays below.
    available: Notify,
}

impl ByteBudget {
    /// Messages smaller than this fraction of the bound are not counted: with the default of 64
    /// MiB, those below 67,108 bytes. Counting them would cost more than sending them, and engine
    /// `omq` holds at most this number of messages for a peer. So uncounted messages at most double
    /// the bound.
    const UNCOUNTED_FRACTION: usize = 1000;

    /// Creates a budget of `max` bytes. With `usize::MAX`, no message is large enough to be
    /// counted.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            used: AtomicUsize::new(0),
            releases: AtomicU64::new(0),
            available: Notify::new(),
        })
    }

    /// Returns whether the budget is used up, so that no counted message may be sent.
    ///
    /// A single message may be of any size. The check comes before the count, so each sending
    /// thread may exceed the bound by one message.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.used.load(Ordering::Acquire) >= self.max
    }

    /// Returns the number of frames released so far. If two calls return different numbers, the
    /// peer has read in between.
    pub(crate) fn releases(&self) -> u64 {
        self.releases.load(Ordering::Relaxed)
    }

    /// Waits until the budget is not used up. Another sender may use it up first. The future may be
    /// dropped at any time.
    pub(crate) async fn available(&self) {
        loop {
            let available = self.available.notified();
            tokio::pin!(available);
            // Enabled before the check, so that no release in between is missed.
            available.as_mut().enable();
            if !self.is_exhausted() {
                return;
            }
            available.await;
        }
    }

    /// Counts a message and sends it with `send`. If `send` returns the frames, so does this
    /// function, and they are not counted.
    ///
    /// `send` runs once, before this function returns. The budget is not checked here: the caller
    /// asks [`is_exhausted`](Self::is_exhausted) first.
    pub(crate) fn send_counted(
        self: &Arc<Self>,
        frames: Frames,
        send: impl FnOnce(Frames) -> Result<(), Frames>,
    ) -> Result<(), Frames> {
        if self.is_small(&frames) {
            return send(frames);
        }
        // The uncounted frames are returned: a message that waits for room must not use it up.
        send(self.count(frames.clone())).map_err(|_| frames)
    }

    /// Returns the size of the largest message that a budget of `max` bytes does not count.
    pub(crate) fn uncounted_max(max: usize) -> usize {
        (max / Self::UNCOUNTED_FRACTION).saturating_sub(1)
    }

    /// Returns whether a message is too small to be counted. It may be sent even if the budget is
    /// used up.
    pub(super) fn is_small(&self, frames: &Frames) -> bool {
        Self::is_small_for(self.max, frames)
    }

    /// Returns whether a message is too small to be counted in a budget of `max` bytes.
    pub(super) fn is_small_for(max: usize, Frames { head, body }: &Frames) -> bool {
        head.len() + body.as_ref().map_or(0, Body::len) < max / Self::UNCOUNTED_FRACTION
    }

    /// Counts a message until its last frame is dropped. Small messages are returned as they are.
    ///
    /// Clones of a counted frame share one guard, so the bytes count once for all of them.
    pub(crate) fn count(self: &Arc<Self>, frames: Frames) -> Frames {
        if self.is_small(&frames) {
            return frames;
        }
        let Frames { head, body } = frames;
        let body = body.map(|body| {
            Body::from_frames(body.frames().map(|frame| self.count_frame(frame.clone())))
        });
        Frames { head: self.count_frame(head), body }
    }

    /// Wraps a frame in a guard that counts it. Empty frames hold no memory, and are returned as
    /// they are.
    fn count_frame(self: &Arc<Self>, frame: Bytes) -> Bytes {
        if frame.is_empty() {
            return frame;
        }
        self.used.fetch_add(frame.len(), Ordering::AcqRel);
        Bytes::from_owner(CountedFrame { frame, budget: self.clone() })
    }
}

/// The guard of a frame that an engine holds. Counted in a budget until it is dropped.
struct CountedFrame {
    /// The frame, whose length is counted.
    frame: Bytes,
    budget: Arc<ByteBudget>,
}

impl AsRef<[u8]> for CountedFrame {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Drop for CountedFrame {
    fn drop(&mut self) {
        let ByteBudget { max, used, releases, available } = &*self.budget;
        releases.fetch_add(1, Ordering::Relaxed);
        let before = used.fetch_sub(self.frame.len(), Ordering::AcqRel);
        if before >= *max && before - self.frame.len() < *max {
            available.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn frames(size: usize) -> Frames {
        let body =
            Body::from_frames([vec![1; size / 2].into(), Bytes::new(), vec![2; size / 2].into()]);
        Frames { head: Bytes::new(), body: Some(body) }
    }

    #[test]
    fn a_frame_counts_until_the_engine_drops_it() {
        let budget = ByteBudget::new(10_000);
        let (mut held, message) = (Vec::new(), frames(6_000));
        for _ in 0..2 {
            assert!(!budget.is_exhausted());
            let sent = budget.send_counted(message.clone(), |frames| {
                assert_eq!(frames, message);
                held.push(frames);
                Ok(())
            });
            assert!(sent.is_ok());
        }
        assert!(budget.is_exhausted());
        let mut available = Box::pin(budget.available());
        assert!((&mut available).now_or_never().is_none());
        held.pop();
        assert!(available.now_or_never().is_some());
        assert_eq!(budget.used.load(Ordering::Relaxed), 6_000);
        held.clear();
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
        // Two frames each.
        assert_eq!(budget.releases(), 4);
    }

    #[test]
    fn a_returned_message_is_not_counted() {
        let budget = ByteBudget::new(1_000);
        let back = budget.send_counted(frames(5_000), Err).unwrap_err();
        assert!(!budget.is_exhausted());
        assert_eq!(back, frames(5_000));
    }

    #[test]
    fn a_small_message_is_not_counted() {
        let budget = ByteBudget::new(1_000_000);
        let mut held = Vec::new();
        for (size, is_counted) in [(998, false), (1_000, true)] {
            let sent = budget.send_counted(frames(size), |frames| {
                held.push(frames);
                Ok(())
            });
            assert!(sent.is_ok());
            assert_eq!(budget.used.load(Ordering::Relaxed) > 0, is_counted, "{size}");
        }
    }
}
