//! Bounds on the inbound connections of a socket, as [`Admission`] sets them.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use omq_tokio::{
    MonitorEvent, MonitorRecvError, MonitorStream, PeerAuthentication, PeerInfo, Socket, SocketType,
};
use polywire_core::transport::LogThrottle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::engine_error::is_of_message_max;
use super::subscription_counts::SubscriptionCounts;
use crate::endpoint::OwnIdentity;
use crate::engine::admission_log::AdmissionLog;
use crate::engine::connected_peer_counts::{ConnectedPeers, Host};
use crate::lock::lock;
use crate::security::{Admission, FIRST_MAX};
use crate::wire::SyncMarker;

/// A limiter of the connections and subscriptions of one socket.
///
/// A task counts the peers that have finished their handshake, and disconnects those beyond the
/// bounds. To stop a flood earlier, the engine asks [`is_full`](Self::is_full) during the
/// handshake. Peers that finish their handshakes at the same moment may all pass that check, so the
/// task is the one that enforces the bound.
///
/// The task holds the limiter weakly, and the socket strongly. So [`stop`](Self::stop) has to end
/// the task before the socket can be dropped. Where several locks are held, `task` is locked before
/// `connected`, and `connected` before `subscriptions`.
#[derive(Debug)]
pub(super) struct ConnectionLimiter {
    /// The bounds.
    admission: Admission,
    /// Set when every further peer is refused.
    refuses: AtomicBool,
    /// The peers that have finished their handshake.
    connected: Mutex<ConnectedPeers>,
    /// The subscriptions of these peers.
    subscriptions: Mutex<SubscriptionCounts>,
    /// Notified when a peer goes on to send subscriptions that are ignored.
    has_excess: Arc<Notify>,
    /// The watching task. Absent until the socket binds its first endpoint.
    task: Mutex<Option<AbortHandle>>,
    /// Throttle for log lines of disconnected peers. Remote peers decide how often that happens.
    rejections: AdmissionLog,
    /// Throttle for log lines of failed handshakes.
    handshake_failures: LogThrottle,
}

impl ConnectionLimiter {
    /// Creates the limiter of a socket that has bound nothing yet.
    pub(super) fn new(admission: Admission) -> Arc<Self> {
        Arc::new(Self {
            admission,
            refuses: AtomicBool::new(false),
            connected: Mutex::default(),
            subscriptions: Mutex::default(),
            has_excess: Arc::default(),
            task: Mutex::default(),
            rejections: AdmissionLog::default(),
            handshake_failures: LogThrottle::new(),
        })
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
        let exceeded = connected.exceeded(host, &self.admission);
        let is_stopped = self.refuses.load(Ordering::Relaxed);
        if !is_stopped && let Some(bound) = exceeded {
            self.rejections.note(bound);
        }
        is_stopped || exceeded.is_some()
    }

    /// Returns whether one more peer from this address would be too many. A socket that binds no
    /// endpoint is never full.
    ///
    /// A peer without a valid IP address, such as one that has connected by `ipc`, counts towards
    /// the bound of the socket only.
    pub(super) fn is_full(&self, address: Option<&str>) -> bool {
        let host = address.and_then(|address| address.parse().ok()).map(Host::of);
        let is_watched = lock(&self.task).is_some();
        let exceeded = lock(&self.connected).exceeded_early(host, &self.admission);
        match exceeded.filter(|_| is_watched) {
            Some(bound) => {
                self.rejections.note(bound);
                true
            }
            None => false,
        }
    }

    /// Returns whether a subscription of the peer with these facts counts.
    ///
    /// A prefix that is longer than any topic does not, and one beyond the tolerated number only if
    /// it is a sync marker. One that does not count is counted here, because its event may be
    /// missed when there are many; a peer that goes on is disconnected.
    pub(super) fn admits(&self, prefix: &[u8], facts: &Arc<PeerAuthentication>) -> bool {
        let mut subscriptions = lock(&self.subscriptions);
        let is_full = subscriptions.is_full(facts, self.admission.subscriptions_tolerated());
        let is_admitted = prefix.len() <= FIRST_MAX && (SyncMarker::is_marker(prefix) || !is_full);
        if !is_admitted && subscriptions.ignore(facts) > self.admission.subscriptions_sent_max() {
            self.has_excess.notify_one();
        }
        is_admitted
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
            let watching = watch(
                Arc::downgrade(self),
                self.has_excess.clone(),
                socket.clone(),
                socket.monitor(),
            );
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
            MonitorEvent::HandshakeSucceeded { peer, .. } if is_own(peer) => {
                self.refuses.load(Ordering::Relaxed).then_some(peer.connection_id)
            }
            // Counted by `recount` before the event was read.
            MonitorEvent::HandshakeSucceeded { peer, .. }
                if connected.contains(peer.connection_id) =>
            {
                None
            }
            MonitorEvent::HandshakeSucceeded { peer, .. } => {
                let host = host_of(peer.peer_address);
                let is_excess = self.is_excess(&connected, host);
                // Counted until the disconnect event, so that the count never falls twice.
                connected.add(peer.connection_id, host);
                lock(&self.subscriptions).add(peer.connection_id, &peer.authentication);
                is_excess.then_some(peer.connection_id)
            }
            MonitorEvent::HandshakeFailed { endpoint, peer_ident, reason } => {
                if let Some(count) = self.handshake_failures.note() {
                    tracing::warn!(%endpoint, last = ?peer_ident, reason, count, "handshakes of peers failed");
                }
                None
            }
            MonitorEvent::Disconnected { peer, reason, .. } => {
                if is_of_message_max(reason) {
                    self.rejections.note("message_max");
                }
                connected.remove(peer.connection_id);
                lock(&self.subscriptions).remove(peer.connection_id);
                None
            }
            MonitorEvent::SubscribeReceived { connection_id, prefix } => {
                let sent = lock(&self.subscriptions).subscribe(*connection_id, prefix);
                self.has_too_many(sent).then_some(*connection_id)
            }
            MonitorEvent::UnsubscribeReceived { connection_id, prefix } => {
                lock(&self.subscriptions).unsubscribe(*connection_id, prefix);
                None
            }
            _ => None,
        }
    }

    /// Returns whether a peer with so many subscriptions is disconnected, and logs that.
    fn has_too_many(&self, subscriptions: usize) -> bool {
        let is_excess = subscriptions > self.admission.subscriptions_sent_max();
        if is_excess {
            self.rejections.note("subscriptions_max");
        }
        is_excess
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
        let mut seen: Vec<(PeerInfo, Vec<Bytes>)> = match socket.socket_type() {
            SocketType::XPub => match socket.monitor_with_subscriptions().await {
                Ok((exact, peers)) => {
                    *events = exact;
                    peers.into_iter().map(|peer| (peer.peer, peer.prefixes)).collect()
                }
                Err(_) => return Vec::new(),
            },
            _ => {
                let connections = socket.connections().await.unwrap_or_default();
                let peers = connections.into_iter().filter_map(|one| one.peer_info);
                peers.map(|peer| (peer, Vec::new())).collect()
            }
        };
        seen.retain(|(peer, _)| !is_own(peer));
        // The oldest connections stay.
        seen.sort_unstable_by_key(|(peer, _)| peer.connection_id);
        // No lock is held while the counts are built: each handshake and each subscription waits
        // for these locks. Of the counts, other tasks change only those of ignored subscriptions.
        let (mut connected, mut subscriptions) =
            (ConnectedPeers::default(), SubscriptionCounts::default());
        let mut excess = Vec::new();
        for (PeerInfo { connection_id, authentication, peer_address, .. }, prefixes) in &seen {
            let host = host_of(*peer_address);
            subscriptions.add(*connection_id, authentication);
            let prefixes = prefixes.iter().map(|prefix| &prefix[..]);
            subscriptions.restore(*connection_id, prefixes);
            if self.is_excess(&connected, host) {
                excess.push(*connection_id);
            }
            connected.add(*connection_id, host);
        }
        // The former counts are dropped after the locks.
        std::mem::swap(&mut *lock(&self.connected), &mut connected);
        {
            let mut former = lock(&self.subscriptions);
            subscriptions.keep_ignored(&former);
            std::mem::swap(&mut *former, &mut subscriptions);
        }
        excess.extend(self.with_too_many());
        excess
    }

    /// Returns the connections with too many subscriptions, and logs them.
    fn with_too_many(&self) -> Vec<u64> {
        let max = self.admission.subscriptions_sent_max();
        let excess = lock(&self.subscriptions).excess(max);
        excess.iter().for_each(|_| self.rejections.note("subscriptions_max"));
        excess
    }
}

/// Counts the events of a socket and disconnects excess peers, until the socket is closed or the
/// limiter is dropped.
///
/// While events are missed one count after the other, a peer that sends subscriptions to no end is
/// found by `has_excess`.
async fn watch(
    limiter: Weak<ConnectionLimiter>,
    has_excess: Arc<Notify>,
    socket: Socket,
    mut events: MonitorStream,
) {
    loop {
        let event = tokio::select! {
            event = events.recv() => Some(event),
            () = has_excess.notified() => None,
        };
        let Some(limiter) = limiter.upgrade() else { return };
        let excess = match event {
            None => limiter.with_too_many(),
            Some(Ok(event)) => limiter.record(&event).into_iter().collect(),
            Some(Err(MonitorRecvError::Lagged(_))) => limiter.recount(&socket, &mut events).await,
            Some(Err(_)) => return,
        };
        for connection in excess {
            // An error means that the peer is gone already.
            let _ = socket.disconnect_peer(connection).await;
        }
    }
}

/// Returns whether a peer is an own client, which does not count for the bounds.
fn is_own(peer: &PeerInfo) -> bool {
    peer.peer_identity.as_deref().is_some_and(OwnIdentity::is_own)
}

/// Returns the host of a peer, or `None` for `ipc`, where all peers are on this machine.
fn host_of(address: Option<SocketAddr>) -> Option<Host> {
    address.map(|address| Host::of(address.ip()))
}
