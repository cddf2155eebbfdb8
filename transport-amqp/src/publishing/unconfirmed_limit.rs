//! The limit on unconfirmed messages.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::buffer_bounds::Bounds;

/// A limit on messages that are written and not confirmed.
///
/// A broker that confirms slowly slows down the senders, instead of filling memory. Both counts
/// fall when an outcome is reported, not when the broker confirms: a message whose return is
/// uncertain still counts.
pub(super) struct UnconfirmedLimit {
    bounds: Bounds,
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl UnconfirmedLimit {
    /// Creates a limit with no messages.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, messages: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
    }

    /// Returns whether one more message of `size` bytes fits. A single message of any size always
    /// does.
    ///
    /// The answer stays true until the caller enters the message, since only one thread at a time
    /// publishes, under the lock of the publish queue. Others only leave.
    pub(super) fn has_room(&self, size: usize) -> bool {
        self.bounds.admit(
            self.messages.load(Ordering::Acquire),
            self.bytes.load(Ordering::Acquire),
            size,
        )
    }

    /// Counts a message that is written.
    pub(super) fn enter(&self, size: usize) {
        self.messages.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(size, Ordering::AcqRel);
    }

    /// Removes a message from the count, once its outcome is known.
    pub(super) fn leave(&self, size: usize) {
        self.messages.fetch_sub(1, Ordering::AcqRel);
        self.bytes.fetch_sub(size, Ordering::AcqRel);
    }
}
