//! The limit on unconfirmed messages.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::buffer_bounds::BufferBounds;

/// A limit on messages that are written and not confirmed.
///
/// A broker that confirms slowly slows down the senders, instead of filling memory. Both counts
/// fall when an outcome is reported, not when the broker confirms: a message whose return is
/// uncertain still counts.
pub(super) struct UnconfirmedLimit {
    bounds: BufferBounds,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// Set while a message waits for room.
    is_wanted: AtomicBool,
}

impl UnconfirmedLimit {
    /// Creates a limit with no messages.
    pub(super) fn new(bounds: BufferBounds) -> Self {
        let (messages, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { bounds, messages, bytes, is_wanted: AtomicBool::new(false) }
    }

    /// Returns whether one more message of `size` bytes fits. A single message of any size always
    /// does. If it does not fit, the next call of [`leave`](Self::leave) says so.
    ///
    /// The answer stays true until the caller enters the message, since only one thread at a time
    /// publishes, under the lock of the publish queue. Others only leave.
    pub(super) fn has_room(&self, size: usize) -> bool {
        if self.admits(size) {
            return true;
        }
        self.is_wanted.store(true, Ordering::SeqCst);
        // A message that has left in between may not have seen the flag.
        self.admits(size)
    }

    fn admits(&self, size: usize) -> bool {
        self.bounds.admit(
            self.messages.load(Ordering::SeqCst),
            self.bytes.load(Ordering::SeqCst),
            size,
        )
    }

    /// Counts a message that is written.
    pub(super) fn enter(&self, size: usize) {
        self.messages.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(size, Ordering::SeqCst);
    }

    /// Removes a message from the count, once its outcome is known. Returns whether a message waits
    /// for the room.
    #[must_use]
    pub(super) fn leave(&self, size: usize) -> bool {
        self.messages.fetch_sub(1, Ordering::SeqCst);
        self.bytes.fetch_sub(size, Ordering::SeqCst);
        self.is_wanted.load(Ordering::SeqCst) && self.is_wanted.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_that_leaves_says_whether_another_one_waits_for_its_room() {
        let limit = UnconfirmedLimit::new(BufferBounds { messages: 2, bytes: 100 });
        for _ in 0..2 {
            assert!(limit.has_room(1));
            limit.enter(1);
        }
        assert!(!limit.leave(1));
        limit.enter(1);
        assert!(!limit.has_room(1));
        assert!(limit.leave(1) && limit.has_room(1));
        assert!(!limit.leave(1), "the message was counted once");
    }
}
