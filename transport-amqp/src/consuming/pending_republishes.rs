//! Republishes under way: the number of copies whose originals are not acknowledged yet.
//!
//! The attempts at a message are counted elsewhere. `transport-amqp/src/consuming/requeue_mode.rs`
//! says by whom, `transport-amqp/src/consuming/delivery_intake.rs` takes the count from a delivery,
//! and `transport-amqp/src/consuming/republisher.rs` adds to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// The longest wait on close, or before a channel is given up, for copies to be confirmed.
pub(crate) const REPUBLISH_MAX: Duration = Duration::from_secs(2);

/// Number of copies under way whose originals are not acknowledged yet.
///
/// Clones share the count. The transport has one count for all consumers, and each consumer one of
/// its own.
#[derive(Clone, Default)]
pub(crate) struct PendingRepublishes(Arc<watch::Sender<usize>>);

impl PendingRepublishes {
    /// Counts one copy until the guard is dropped.
    pub(crate) fn begin(&self) -> RepublishGuard {
        self.0.send_modify(|copies| *copies += 1);
        RepublishGuard(self.0.clone())
    }

    /// Leaves out one counted copy until the guard is dropped: nothing is published meanwhile, so
    /// an end of the channel duplicates nothing.
    ///
    /// The caller holds a guard of [`begin`](Self::begin), so the count cannot fall below zero.
    pub(crate) fn pause(&self) -> PauseGuard {
        self.0.send_modify(|copies| *copies -= 1);
        PauseGuard(self.0.clone())
    }

    /// Waits until no copy is under way.
    ///
    /// Copies that begin meanwhile prolong the wait, so the caller sets a limit.
    pub(crate) async fn wait_idle(&self) {
        // The sender is a field of `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|copies| *copies == 0).await;
    }
}

/// One copy that is left out for a while.
pub(crate) struct PauseGuard(Arc<watch::Sender<usize>>);

impl Drop for PauseGuard {
    fn drop(&mut self) {
        self.0.send_modify(|copies| *copies += 1);
    }
}

/// One counted copy.
pub(crate) struct RepublishGuard(Arc<watch::Sender<usize>>);

impl Drop for RepublishGuard {
    fn drop(&mut self) {
        self.0.send_modify(|copies| *copies -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn copy_that_pauses_is_not_waited_for() {
        let republishes = PendingRepublishes::default();
        let copy = republishes.begin();
        assert!(republishes.wait_idle().now_or_never().is_none());
        let pause = republishes.pause();
        assert!(republishes.wait_idle().now_or_never().is_some());
        let another = republishes.begin();
        assert!(republishes.wait_idle().now_or_never().is_none());
        drop(another);
        drop(pause);
        assert!(republishes.wait_idle().now_or_never().is_none());
        drop(copy);
        assert!(republishes.wait_idle().now_or_never().is_some());
    }
}
