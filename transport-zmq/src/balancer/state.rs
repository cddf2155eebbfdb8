//! State that a balancer shares with its peer connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use polywire_core::transport::LogThrottle;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::retry::Retries;

/// Shared state of a balancer and its peer connections.
pub(super) struct BalancerState {
    /// Signals that a peer connected or disconnected, or that the balancer was closed.
    changed: Notify,
    /// Number of changes of the set of peers.
    version: AtomicUsize,
    /// Wakes the reply stream after a change of the set of peers.
    reader: AtomicWaker,
    closed: AtomicBool,
    pub(super) retries: Arc<Retries>,
    /// The bytes that may be unsent, and those that may wait for replies, for one peer.
    pub(super) peer_bytes_max: usize,
    /// Throttles for log lines of inbound peers.
    pub(super) connects: LogThrottle,
    pub(super) disconnects: LogThrottle,
}

impl BalancerState {
    pub(super) fn new(peer_bytes_max: usize, retries: Arc<Retries>) -> Arc<Self> {
        Arc::new(Self {
            changed: Notify::new(),
            version: AtomicUsize::new(0),
            reader: AtomicWaker::new(),
            closed: AtomicBool::new(false),
            retries,
            peer_bytes_max,
            connects: LogThrottle::new(),
            disconnects: LogThrottle::new(),
        })
    }

    /// Returns a future that resolves with the next change. Enable it before checking a condition,
    /// so that no change in between is missed.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Signals that a peer connected or disconnected.
    pub(super) fn notify_changed(&self) {
        self.changed.notify_waiters();
    }

    /// Signals that the set of peers has changed.
    pub(super) fn notify_set_changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
        self.reader.wake();
        self.changed.notify_waiters();
    }

    /// Returns the number of changes of the set of peers, and registers the waker for the next one.
    pub(super) fn version(&self, waker: &Waker) -> usize {
        self.reader.register(waker);
        self.version.load(Ordering::Acquire)
    }

    /// Marks the balancer as closed.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
