//! Bounds on the inbound connections of a socket, as [`Admission`] sets them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use omq_tokio::{MonitorEvent, MonitorRecvError, MonitorStream, PeerInfo, Socket, SocketType};
use polywire_core::transport::LogThrottle;
use tokio::task::AbortHandle;

use crate::engine::connected_peers::{ConnectedPeers, Host};
use crate::error::lock;
use crate::security::Admission;

/// A limiter of the connections and subscriptions of one socket.
///
/// A task counts the peers that have finished their handshake, and disconnects those beyond the
/// bounds. To stop a flood earlier, the engine asks [`is_full`](Self::is_full) during the
/// handshake. Peers that finish their handshakes at the same moment may all pass that check, so the
/// task is the one that enforces the bound.
///
/// The task holds the limiter weakly, and the socket strongly. So [`stop`](Self::stop) has to end
/// the task before the socket can be dropped. Where both locks are held, `task` is locked before
/// `connected`.
#[derive(Debug)]
pub(super) struct ConnectionLimiter {
    /// The bounds.
    admission: Admission,
    /// Set when every further peer is refused.
    refuses: AtomicBool,
    /// The peers that have finished their handshake.
    connected: Mutex<ConnectedPeers>,
    /// The watching task. Absent until the socket binds its first endpoint.
    task: Mutex<Option<AbortHandle>>,
    /// Throttle for log lines of disconnected peers. Remote peers decide how often that happens.
    rejections: LogThrottle,
    /// Throttle for log lines of failed handshakes.
    handshake_failures: LogThrottle,
}

impl ConnectionLimiter {
    /// Creates the limiter of a socket that has bound nothing yet.
    pub(super) fn new(admission: Admission) -> Arc<Self> {
        let (connected, task) = (Mutex::default(), Mutex::default());
        let (rejections, handshake_failures) = (LogThrottle::new(), LogThrottle::new());
        let refuses = AtomicBool::new(false);
        Arc::new(Self { admission, refuses, connected, task, rejections, handshake_failures })
    }

    /// Disconnects every peer that finishes its handshake from now on.
    ///
    /// The engine ends handshakes that are under way when an endpoint is unbound. This is for peers
    /// that finish theirs in that moment.
    pub(super) fn refuse_all(&self) {
        self.refuses.store(true, Ordering::Relaxed);
    }

    /// Returns whether one more peer of a host would be too many.
    fn is_excess(&self, connected: &ConnectedPeers, host: Option<Host>) -> bool {
        self.refuses.load(Ordering::Relaxed) || connected.is_full(host, &self.admission)
    }

    /// Returns whether one more peer from this address would be too many. A socket that binds no
    /// endpoint is never full.
    ///
    /// A peer without a valid IP address, such as one that has connected by `ipc`, counts towards
    /// the bound of the socket only.
    pub(super) fn is_full(&self, address: Option<&str>) -> bool {
        let host = address.and_then(|address| address.parse().ok()).map(Host::of);
        lock(&self.task).is_some() && lock(&self.connected).is_full(host, &self.admission)
    }

    /// Returns the bound on the subscriptions of a peer, which holds once the socket has bound an
    /// endpoint.
    pub(super) fn subscriptions_max(&self) -> Option<usize> {
        lock(&self.task).is_some().then_some(self.admission.subscriptions_max)
    }

    /// Starts the task that watches a socket, with the first endpoint that the socket binds. A
    /// socket that only connects chooses its peers itself, and needs no bounds.
    ///
    /// The event stream begins before this function returns, so the task sees all peers that
    /// connect later. Requires a tokio runtime.
    pub(super) fn watch(self: &Arc<Self>, socket: &Socket) {
        let mut task = lock(&self.task);
        if task.is_none() {
            let watching = watch(Arc::downgrade(self), socket.clone(), socket.monitor());
            *task = Some(tokio::spawn(watching).abort_handle());
        }
    }

    /// Stops the task, which holds the socket.
    ///
    /// The entry of the task stays, and no other task is started. The bounds of the handshake
    /// remain in effect.
    pub(super) fn stop(&self) {
        if let Some(task) = &*lock(&self.task) {
            task.abort();
        }
    }

    /// Counts an event. Returns the connection to disconnect, if the event exceeds a bound.
    ///
    /// A connection beyond the bounds is counted until its disconnect event, so that the count
    /// never falls twice for it.
    fn record(&self, event: &MonitorEvent) -> Option<u64> {
        let mut connected = lock(&self.connected);
        match event {
            MonitorEvent::HandshakeSucceeded { peer, .. } => {
                let is_excess = self.is_excess(&connected, host_of(peer));
                // Counted until the disconnect event, so that the count never falls twice.
                connected.add(peer.connection_id, host_of(peer));
                is_excess.then_some(peer.connection_id)
            }
            MonitorEvent::HandshakeFailed { endpoint, peer_ident, reason } => {
                if let Some(count) = self.handshake_failures.note() {
                    tracing::warn!(%endpoint, last = ?peer_ident, reason, count, "handshakes of peers failed");
                }
                None
            }
            MonitorEvent::Disconnected { peer, .. } => {
                connected.remove(peer.connection_id);
                None
            }
            MonitorEvent::SubscribeReceived { connection_id, .. } => {
                let subscriptions = connected.subscriptions(*connection_id)?;
                *subscriptions += 1;
                (*subscriptions > self.admission.subscriptions_tolerated())
                    .then_some(*connection_id)
            }
            MonitorEvent::UnsubscribeReceived { connection_id, .. } => {
                let subscriptions = connected.subscriptions(*connection_id)?;
                *subscriptions = subscriptions.saturating_sub(1);
                None
            }
            _ => None,
        }
    }

    /// Counts all connections again, after events were missed because there were more than 1,024
    /// unread ones. Returns the connections to disconnect.
    ///
    /// The oldest connections stay, as far as the bounds allow. A connection with too many
    /// subscriptions goes, even if the connection is old.
    ///
    /// The events are restarted before the count. A connection that is in both is counted once. If
    /// the socket is closed, nothing is counted.
    async fn recount(&self, socket: &Socket, events: &mut MonitorStream) -> Vec<u64> {
        // Restarted before the count. A connection in both is counted once.
        *events = socket.monitor();
        let mut seen: Vec<(PeerInfo, usize)> = match socket.socket_type() {
            SocketType::XPub => match socket.monitor_with_subscriptions().await {
                Ok((exact, peers)) => {
                    *events = exact;
                    peers.into_iter().map(|peer| (peer.peer, peer.prefixes.len())).collect()
                }
                Err(_) => return Vec::new(),
            },
            _ => {
                let connections = socket.connections().await.unwrap_or_default();
                connections.into_iter().filter_map(|one| Some((one.peer_info?, 0))).collect()
            }
        };
        // The oldest connections stay.
        seen.sort_unstable_by_key(|(peer, _)| peer.connection_id);
        let mut connected = lock(&self.connected);
        *connected = ConnectedPeers::default();
        let mut excess = Vec::new();
        for (peer, subscriptions) in seen {
            let host = host_of(&peer);
            if self.is_excess(&connected, host)
                || subscriptions > self.admission.subscriptions_tolerated()
            {
                excess.push(peer.connection_id);
            }
            connected.add(peer.connection_id, host);
            if let Some(count) = connected.subscriptions(peer.connection_id) {
                *count = subscriptions;
            }
        }
        excess
    }
}

/// Counts the events of a socket and disconnects excess peers, until the socket is closed or the
/// limiter is dropped.
async fn watch(limiter: Weak<ConnectionLimiter>, socket: Socket, mut events: MonitorStream) {
    loop {
        let event = events.recv().await;
        let Some(limiter) = limiter.upgrade() else { return };
        let excess = match event {
            Ok(event) => limiter.record(&event).into_iter().collect(),
            Err(MonitorRecvError::Lagged(_)) => limiter.recount(&socket, &mut events).await,
            Err(_) => return,
        };
        for connection in excess {
            let is_stopped = limiter.refuses.load(Ordering::Relaxed);
            if !is_stopped && let Some(count) = limiter.rejections.note() {
                tracing::warn!(count, "disconnected peers beyond the bounds of admission");
            }
            // An error means that the peer is gone already.
            let _ = socket.disconnect_peer(connection).await;
        }
    }
}

/// Returns the host of a peer, or `None` for `ipc`, where all peers are on this machine.
fn host_of(peer: &PeerInfo) -> Option<Host> {
    peer.peer_address.map(|address| Host::of(address.ip()))
}
