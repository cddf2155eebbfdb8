//! A count of those that are at work.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A unit of a count, until it is dropped.
///
/// A dispatcher counts the consumers that read or refuse requests. Before the leave of its socket,
/// the dispatcher waits until the count is 0.
pub(super) struct CountGuard<'a>(&'a AtomicUsize);

impl<'a> CountGuard<'a> {
    /// Adds one to a count.
    pub(super) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for CountGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
