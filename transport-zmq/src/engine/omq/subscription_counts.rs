//! Subscriptions of the connected peers, and the peers whose further ones are ignored. No I/O.
//!
//! The engine asks about a subscription by the facts of the handshake of its peer, and reports its
//! events by the number of the connection. This file connects the two.

use std::sync::Arc;

use omq_tokio::PeerAuthentication;
use rustc_hash::FxHashMap;

/// The connected peers, with their subscriptions as the engine holds them.
///
/// Bounded by the connections, and by the subscriptions for which the engine is asked.
///
/// Each connection has its own facts, so their address names the connection. The table holds the
/// facts, so that no other connection gets the same address.
#[derive(Debug, Default)]
pub(super) struct SubscriptionCounts {
    /// The connected peers, by the number of the connection.
    peers: FxHashMap<u64, CountedPeer>,
    /// The number of the connection of each peer, by the address of its facts.
    connections: FxHashMap<usize, u64>,
}

/// A connected peer.
#[derive(Debug)]
struct CountedPeer {
    /// The facts of its handshake.
    facts: Arc<PeerAuthentication>,
    /// The prefixes in effect, each with the number of its subscriptions. None has a count of 0.
    held: FxHashMap<Box<[u8]>, usize>,
    /// The number of all subscriptions in effect.
    held_total: usize,
    /// The number of subscriptions that were ignored since the peer connected.
    ignored: usize,
}

impl CountedPeer {
    fn hold(&mut self, prefix: &[u8]) {
        self.held_total += 1;
        match self.held.get_mut(prefix) {
            Some(count) => *count += 1,
            None => _ = self.held.insert(prefix.into(), 1),
        }
    }

    /// Returns the number of its subscriptions, those that were ignored included.
    fn sent(&self) -> usize {
        self.held_total + self.ignored
    }
}

impl SubscriptionCounts {
    /// Adds a peer that has finished its handshake, without subscriptions.
    pub(super) fn add(&mut self, connection: u64, facts: &Arc<PeerAuthentication>) {
        let (facts, held) = (facts.clone(), FxHashMap::default());
        self.connections.insert(address(&facts), connection);
        self.peers.insert(connection, CountedPeer { facts, held, held_total: 0, ignored: 0 });
    }

    /// Removes a peer.
    pub(super) fn remove(&mut self, connection: u64) {
        if let Some(peer) = self.peers.remove(&connection) {
            self.connections.remove(&address(&peer.facts));
        }
    }

    /// Adds a subscription that is in effect. Returns the number of subscriptions of its peer,
    /// those that were ignored included.
    ///
    /// Returns 0 for a peer that was not added. Subscriptions to one prefix count each.
    pub(super) fn subscribe(&mut self, connection: u64, prefix: &[u8]) -> usize {
        let Some(peer) = self.peers.get_mut(&connection) else { return 0 };
        peer.hold(prefix);
        peer.sent()
    }

    /// Counts a subscription that was ignored, of the peer with these facts. Returns the number as
    /// [`subscribe`](Self::subscribe) does.
    pub(super) fn ignore(&mut self, facts: &Arc<PeerAuthentication>) -> usize {
        let Some(connection) = self.connections.get(&address(facts)) else { return 0 };
        let Some(peer) = self.peers.get_mut(connection) else { return 0 };
        peer.ignored += 1;
        peer.sent()
    }

    /// Removes a subscription. The end of one that is not in effect makes no room.
    pub(super) fn unsubscribe(&mut self, connection: u64, prefix: &[u8]) {
        let Some(peer) = self.peers.get_mut(&connection) else { return };
        let Some(count) = peer.held.get_mut(prefix) else { return };
        *count -= 1;
        if *count == 0 {
            peer.held.remove(prefix);
        }
        peer.held_total -= 1;
    }

    /// Returns the connections with more than `max` subscriptions, ignored ones included.
    pub(super) fn excess(&self, max: usize) -> Vec<u64> {
        let excess = self.peers.iter().filter(|(_, peer)| peer.sent() > max);
        excess.map(|(connection, _)| *connection).collect()
    }

    /// Sets the subscriptions of a peer that are in effect, after events were missed.
    pub(super) fn restore<'p>(
        &mut self,
        connection: u64,
        prefixes: impl Iterator<Item = &'p [u8]>,
    ) {
        let Some(peer) = self.peers.get_mut(&connection) else { return };
        prefixes.for_each(|prefix| peer.hold(prefix));
    }

    /// Takes over the numbers of ignored subscriptions of the former counts.
    pub(super) fn keep_ignored(&mut self, former: &Self) {
        for (connection, peer) in &mut self.peers {
            peer.ignored = former.peers.get(connection).map_or(0, |peer| peer.ignored);
        }
    }

    /// Returns whether the peer with these facts has `full` subscriptions in effect, so that
    /// further ones are ignored.
    pub(super) fn is_full(&self, facts: &Arc<PeerAuthentication>, full: usize) -> bool {
        let connection = self.connections.get(&address(facts));
        let peer = connection.and_then(|connection| self.peers.get(connection));
        peer.is_some_and(|peer| peer.held_total >= full)
    }
}

/// Returns the address of the facts of a peer.
fn address(facts: &Arc<PeerAuthentication>) -> usize {
    Arc::as_ptr(facts).addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer is full with this number of subscriptions.
    const FULL: usize = 3;

    #[test]
    fn only_the_end_of_a_subscription_in_effect_makes_room() {
        let (facts, mut counts) =
            (Arc::<PeerAuthentication>::default(), SubscriptionCounts::default());
        counts.add(1, &facts);
        for (number, prefix) in (1..=FULL).zip([b"a", b"a", b"b"]) {
            assert!(!counts.is_full(&facts, FULL));
            counts.unsubscribe(1, b"never subscribed");
            assert_eq!(counts.subscribe(1, prefix), number);
        }
        assert!(counts.is_full(&facts, FULL));
        assert!(counts.excess(FULL).is_empty());
        assert_eq!(counts.ignore(&facts), FULL + 1);
        assert_eq!(counts.excess(FULL), [1]);
        counts.unsubscribe(1, b"ignored");
        assert!(counts.is_full(&facts, FULL));
        counts.unsubscribe(1, b"a");
        assert!(!counts.is_full(&facts, FULL));
        // What was ignored stays counted, and each prefix ends once for each subscription.
        assert_eq!(counts.subscribe(1, b"c"), FULL + 1);
        for prefix in [b"a", b"a", b"b", b"c"] {
            counts.unsubscribe(1, prefix);
        }
        assert_eq!(counts.subscribe(1, b"d"), 2);
        assert_eq!(counts.subscribe(2, b"d"), 0);
    }

    #[test]
    fn ignored_subscriptions_stay_counted_after_missed_events() {
        let (facts, mut before) =
            (Arc::<PeerAuthentication>::default(), SubscriptionCounts::default());
        before.add(1, &facts);
        before.add(2, &Arc::default());
        before.ignore(&facts);
        let mut counts = SubscriptionCounts::default();
        counts.add(1, &facts);
        counts.restore(1, [b"a", b"a", b"b"].map(|prefix| &prefix[..]).into_iter());
        counts.keep_ignored(&before);
        assert_eq!(counts.excess(FULL), [1]);
        assert!(counts.is_full(&facts, FULL));
        counts.remove(1);
        assert!(!counts.is_full(&facts, FULL));
    }
}
