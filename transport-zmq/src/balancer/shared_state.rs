//! State that a balancer shares with its peer connections, its endpoint changes and its reply
//! stream.
//!
//! The state is below all of them, so that a peer connection needs no reference to its balancer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use polywire_core::transport::LogThrottle;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::resends::Resends;
use crate::config::Settings;
use crate::endpoint::TransportHealth;
use crate::runtime_watch::RuntimeWatch;
use crate::wire::StatedBounds;

/// Shared state of a balancer and its peer connections: change notifications, the closed flag,
/// resends and log throttles.
pub(super) struct SharedState {
    /// Signals that a peer connected or disconnected, that the set of peers changed, or that the
    /// balancer was closed.
    changed: Notify,
    /// Number of changes of the set of peers. The reply stream compares it to learn of new
    /// sources.
    version: AtomicUsize,
    /// Wakes the reply stream after a change of the set of peers.
    reader: AtomicWaker,
    /// Set once, when the balancer is closed, before any of its sockets is.
    closed: AtomicBool,
    /// The runtime of the sockets.
    runtime: RuntimeWatch,
    /// The calls that are to be sent again. Peer connections register lost calls, the reply stream
    /// sends them.
    pub(super) resends: Arc<Resends>,
    /// The bytes that may be unsent for one peer, and the bytes of requests that may wait for its
    /// replies. See [`ZmqBuilder::peer_bytes_max`](crate::ZmqBuilder::peer_bytes_max).
    pub(super) peer_bytes_max: usize,
    /// The largest batch in bytes that is sent; 0 for none.
    pub(super) batch_max: usize,
    /// The bounds that this side states in its questions: the largest batch, if it reads any, and
    /// no bound on messages.
    pub(super) own_bounds: StatedBounds,
    /// Health of the transport.
    pub(super) health: TransportHealth,
    /// The sockets of all peers, within the health.
    pub(super) health_group: u64,
    /// Throttle for log lines of inbound peers that connect. Remote peers decide how often they
    /// do.
    pub(super) connects: LogThrottle,
    /// Throttle for log lines of inbound peers that disconnect.
    pub(super) disconnects: LogThrottle,
}

impl SharedState {
    /// Creates the state of an open balancer without peers.
    pub(super) fn new(
        settings: &Settings,
        resends: Arc<Resends>,
        health: TransportHealth,
    ) -> Arc<Self> {
        Arc::new(Self {
            changed: Notify::new(),
            version: AtomicUsize::new(0),
            reader: AtomicWaker::new(),
            closed: AtomicBool::new(false),
            runtime: RuntimeWatch::start(),
            resends,
            peer_bytes_max: settings.peer_bytes_max,
            batch_max: settings.batch_max(),
            own_bounds: StatedBounds { message_max: None, ..settings.own_bounds() },
            health_group: health.add_group(),
            health,
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

    /// Signals that the set of peers has changed, after the change. Wakes the reply stream and all
    /// senders that wait for a peer.
    pub(super) fn notify_set_changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
        self.reader.wake();
        self.changed.notify_waiters();
    }

    /// Returns the number of changes of the set of peers, and registers the waker for the next one.
    /// The reply stream is the only caller, so one waker is enough.
    pub(super) fn version(&self, waker: &Waker) -> usize {
        self.reader.register(waker);
        self.version.load(Ordering::Acquire)
    }

    /// Marks the balancer as closed. Every later send fails as `Closed`.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Returns whether the balancer is closed, or its runtime has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) || self.runtime.has_ended()
    }

    /// Returns whether the balancer was closed by its transport.
    pub(super) fn was_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// Interval at which peers forget expired calls: 5 seconds.
pub(super) const PRUNE_INTERVAL: Duration = Duration::from_secs(5);
