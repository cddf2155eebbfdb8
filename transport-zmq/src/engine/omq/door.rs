//! Who is connected to a socket that listens, from which hosts, and who is shown out.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};

use omq_tokio::{MonitorEvent, MonitorRecvError, MonitorStream, PeerInfo, Socket, SocketType};
use polywire_core::transport::LogThrottle;
use rustc_hash::FxHashMap;
use tokio::task::AbortHandle;

use crate::error::lock;
use crate::security::Admission;

/// The bounds of a socket, and who has come in.
///
/// It counts those who have finished their handshake, and hangs up on those who are too many. So
/// that a flood does not come that far, the engine asks [`Door::is_full`] in the handshake.
#[derive(Debug)]
pub(super) struct Door {
    admission: Admission,
    present: Mutex<Present>,
    attendant: Mutex<Option<AbortHandle>>,
    intrusions: LogThrottle,
    failures: LogThrottle,
}

impl Door {
    pub(super) fn new(admission: Admission) -> Arc<Self> {
        let (present, attendant) = (Mutex::default(), Mutex::default());
        let (intrusions, failures) = (LogThrottle::new(), LogThrottle::new());
        Arc::new(Self { admission, present, attendant, intrusions, failures })
    }

    /// Whether one more from this address would be too many. A socket that does not listen is never
    /// full.
    pub(super) fn is_full(&self, address: Option<&str>) -> bool {
        let host = address.and_then(|address| address.parse().ok()).map(Host::of);
        lock(&self.attendant).is_some() && lock(&self.present).is_full(host, &self.admission)
    }

    /// Begins to watch a socket that listens from now on.
    pub(super) fn attend(self: &Arc<Self>, socket: &Socket) {
        let mut attendant = lock(&self.attendant);
        if attendant.is_none() {
            let watching = watch(Arc::downgrade(self), socket.clone(), socket.monitor());
            *attendant = Some(tokio::spawn(watching).abort_handle());
        }
    }

    /// Ends the watch, which holds the socket.
    pub(super) fn leave(&self) {
        if let Some(attendant) = &*lock(&self.attendant) {
            attendant.abort();
        }
    }

    /// Takes note of what happened. Returns whom to hang up on.
    fn note(&self, event: &MonitorEvent) -> Option<u64> {
        let mut present = lock(&self.present);
        match event {
            MonitorEvent::HandshakeSucceeded { peer, .. } => {
                let too_many = present.is_full(host_of(peer), &self.admission);
                // Counted until it is gone, so that it is not counted out twice.
                present.enter(peer.connection_id, host_of(peer));
                too_many.then_some(peer.connection_id)
            }
            MonitorEvent::HandshakeFailed { endpoint, peer_ident, reason } => {
                if let Some(count) = self.failures.note() {
                    tracing::warn!(%endpoint, last = ?peer_ident, reason, count, "peers failed in their handshake");
                }
                None
            }
            MonitorEvent::Disconnected { peer, .. } => {
                present.leave(peer.connection_id);
                None
            }
            MonitorEvent::SubscribeReceived { connection_id, .. } => {
                let peer = present.peers.get_mut(connection_id)?;
                peer.subscriptions += 1;
                (peer.subscriptions > self.admission.subscriptions_max).then_some(*connection_id)
            }
            MonitorEvent::UnsubscribeReceived { connection_id, .. } => {
                let peer = present.peers.get_mut(connection_id)?;
                peer.subscriptions = peer.subscriptions.saturating_sub(1);
                None
            }
            _ => None,
        }
    }

    /// Counts anew, because events were missed. Returns whom to hang up on.
    async fn recount(&self, socket: &Socket, events: &mut MonitorStream) -> Vec<u64> {
        // From before the count: what is told twice counts once.
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
        // Who came first, stays.
        seen.sort_unstable_by_key(|(peer, _)| peer.connection_id);
        let mut present = lock(&self.present);
        *present = Present::default();
        let mut intruders = Vec::new();
        for (peer, subscriptions) in seen {
            let host = host_of(&peer);
            if present.is_full(host, &self.admission)
                || subscriptions > self.admission.subscriptions_max
            {
                intruders.push(peer.connection_id);
            }
            present.enter(peer.connection_id, host);
            if let Some(entered) = present.peers.get_mut(&peer.connection_id) {
                entered.subscriptions = subscriptions;
            }
        }
        intruders
    }
}

async fn watch(door: Weak<Door>, socket: Socket, mut events: MonitorStream) {
    loop {
        let event = events.recv().await;
        let Some(door) = door.upgrade() else { return };
        let intruders = match event {
            Ok(event) => door.note(&event).into_iter().collect(),
            Err(MonitorRecvError::Lagged(_)) => door.recount(&socket, &mut events).await,
            Err(_) => return,
        };
        for intruder in intruders {
            if let Some(count) = door.intrusions.note() {
                tracing::warn!(count, "hung up on peers beyond the bounds of admission");
            }
            // It may be gone by now.
            let _ = socket.disconnect_peer(intruder).await;
        }
    }
}

/// Who is connected. Bounded by what the engine has accepted: those who are too many are in it
/// until they are gone.
#[derive(Debug, Default)]
struct Present {
    peers: FxHashMap<u64, Peer>,
    hosts: FxHashMap<Host, usize>,
}

#[derive(Debug)]
struct Peer {
    host: Option<Host>,
    subscriptions: usize,
}

impl Present {
    fn is_full(&self, host: Option<Host>, admission: &Admission) -> bool {
        let of_host = host.and_then(|host| self.hosts.get(&host)).copied().unwrap_or_default();
        self.peers.len() >= admission.connections_max || of_host >= admission.host_connections_max
    }

    fn enter(&mut self, connection: u64, host: Option<Host>) {
        let before = self.peers.insert(connection, Peer { host, subscriptions: 0 });
        if let (Some(host), None) = (host, before) {
            *self.hosts.entry(host).or_default() += 1;
        }
    }

    fn leave(&mut self, connection: u64) {
        let Some(Peer { host: Some(host), .. }) = self.peers.remove(&connection) else { return };
        if let Some(count) = self.hosts.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                self.hosts.remove(&host);
            }
        }
    }
}

/// An address of IPv4, or the first half of one of IPv6: one host can have all addresses that begin
/// with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Host {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Host {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

fn host_of(peer: &PeerInfo) -> Option<Host> {
    peer.peer_address.map(|address| Host::of(address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_its_share_and_gets_it_back() {
        let admission =
            Admission { connections_max: 3, host_connections_max: 2, ..Admission::default() };
        let [one, other] =
            ["10.0.0.1", "10.0.0.2"].map(|host| Some(Host::of(host.parse().unwrap())));
        let mut present = Present::default();
        present.enter(1, one);
        present.enter(1, one);
        assert!(!present.is_full(one, &admission));
        present.enter(2, one);
        assert!(present.is_full(one, &admission));
        assert!(!present.is_full(other, &admission));
        present.enter(3, None);
        assert!(present.is_full(other, &admission));
        present.leave(1);
        present.leave(1);
        assert!(!present.is_full(one, &admission));
        assert_eq!(present.hosts.len(), 1);
    }

    #[test]
    fn neighbours_in_a_network_of_ipv6_are_one_host() {
        let [a, b, c] = ["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"]
            .map(|host| Host::of(host.parse().unwrap()));
        assert_eq!(a, b);
        assert_ne!(a, c);
        assert_eq!(
            Host::of("::ffff:1.2.3.4".parse().unwrap()),
            Host::of("1.2.3.4".parse().unwrap())
        );
    }
}
