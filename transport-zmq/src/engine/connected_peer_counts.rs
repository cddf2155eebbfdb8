//! Connected peers of a socket, and the number for each host. No I/O.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use crate::endpoint::OwnIdentity;
use crate::security::Admission;

/// The peers that have finished their handshake, without own clients of the process.
///
/// Bounded by the connections that the engine accepts: a peer beyond the bounds of [`Admission`]
/// is counted until it is disconnected.
#[derive(Debug, Default)]
pub(in crate::engine) struct ConnectedPeers {
    /// The host of each peer by connection number, or `None` for a peer that has connected by
    /// `ipc`.
    peers: FxHashMap<u64, Option<Host>>,
    /// The number of peers of each host, without hosts that have none.
    hosts: FxHashMap<Host, usize>,
}

impl ConnectedPeers {
    /// Returns the name of the bound that one more peer from this host would exceed.
    ///
    /// The bound of a host does not apply to peers without a host. The bound of the socket applies
    /// to all peers.
    pub(in crate::engine) fn exceeded(
        &self,
        host: Option<Host>,
        admission: &Admission,
    ) -> Option<&'static str> {
        let of_host = host.and_then(|host| self.hosts.get(&host)).copied().unwrap_or_default();
        if self.peers.len() >= admission.connections_max {
            return Some("connections_max");
        }
        (of_host >= admission.host_connections_max).then_some("host_connections_max")
    }

    /// Returns the name of the bound that a peer before its handshake would exceed.
    ///
    /// `None` while the peer may be an [own client](OwnIdentity), which does not count.
    pub(in crate::engine) fn exceeded_early(
        &self,
        host: Option<Host>,
        admission: &Admission,
    ) -> Option<&'static str> {
        self.exceeded(host, admission).filter(|_| !OwnIdentity::is_any())
    }

    /// Returns whether a connection is counted.
    #[cfg(feature = "engine-omq")]
    pub(in crate::engine) fn contains(&self, connection: u64) -> bool {
        self.peers.contains_key(&connection)
    }

    /// Adds a connection. One that is present is not counted twice.
    pub(in crate::engine) fn add(&mut self, connection: u64, host: Option<Host>) {
        let before = self.peers.insert(connection, host);
        if let (Some(host), None) = (host, before) {
            *self.hosts.entry(host).or_default() += 1;
        }
    }

    /// Removes a connection, if it is present.
    ///
    /// A host leaves the table with its last peer.
    pub(in crate::engine) fn remove(&mut self, connection: u64) {
        let Some(Some(host)) = self.peers.remove(&connection) else { return };
        if let Some(count) = self.hosts.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                self.hosts.remove(&host);
            }
        }
    }
}

/// The failure of a connection that its peer closes in the handshake without a reason, as a peer
/// does at its bounds.
///
/// An ERROR command would name the bound, but a libzmq peer does not connect again after one.
pub(in crate::engine) const CLOSED_IN_HANDSHAKE: &str =
    "the peer closed the connection, as at its `connections_max` or `host_connections_max`";

/// An IPv4 address, or the first half of an IPv6 address: one host may have all addresses of a
/// /64 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::engine) enum Host {
    /// All four bytes of an IPv4 address.
    V4([u8; 4]),
    /// The first 64 bits of an IPv6 address.
    V6([u8; 8]),
}

impl Host {
    /// Returns the host of an address.
    ///
    /// An IPv4 address that is mapped into IPv6 counts as the IPv4 address.
    pub(in crate::engine) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_bound_and_regains_room_after_a_disconnect() {
        let admission =
            Admission { connections_max: 3, host_connections_max: 2, ..Admission::default() };
        let [one, other] =
            ["10.0.0.1", "10.0.0.2"].map(|host| Some(Host::of(host.parse().unwrap())));
        let mut connected = ConnectedPeers::default();
        connected.add(1, one);
        connected.add(1, one);
        assert_eq!(connected.exceeded(one, &admission), None);
        connected.add(2, one);
        assert_eq!(connected.exceeded(one, &admission), Some("host_connections_max"));
        assert_eq!(connected.exceeded(other, &admission), None);
        connected.add(3, None);
        assert_eq!(connected.exceeded(other, &admission), Some("connections_max"));
        connected.remove(1);
        connected.remove(1);
        assert_eq!(connected.exceeded(one, &admission), None);
        assert_eq!(connected.hosts.len(), 1);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_host() {
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
