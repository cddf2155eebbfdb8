//! Subscriptions of the connected peers, and the peers whose further ones are ignored. No I/O.
//!
//! The engine asks about a subscription by the facts of the handshake of its peer, and reports its
//! events by the number of the connection. This file connects the two.

use std::sync::Arc;

use omq_tokio::PeerAuthentication;
use rustc_hash::{FxHashMap, FxHashSet};

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
    /// The addresses of the facts of the full ones.
    full: FxHashSet<usize>,
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
}

impl SubscriptionCounts {
    /// Adds a peer that has finished its handshake, without subscriptions.
    pub(super) fn add(&mut self, connection: u64, facts: &Arc<PeerAuthentication>) {
        let (facts, held) = (facts.clone(), FxHashMap::default());
        self.peers.insert(connection, CountedPeer { facts, held, held_total: 0, ignored: 0 });
    }

    /// Removes a peer.
    pub(super) fn remove(&mut self, connection: u64) {
        if let Some(peer) = self.peers.remove(&connection) {
            self.full.remove(&address(&peer.facts));
        }
    }

    /// Adds a subscription that is in effect. From `full` of them on, further ones of the peer are
    /// ignored. Returns the number of its subscriptions, those that were ignored included.
    ///
    /// Returns 0 for a peer that was not added. Subscriptions to one prefix count each.
    pub(super) fn subscribe(&mut self, connection: u64, prefix: &[u8], full: usize) -> usize {
        let Some(peer) = self.peers.get_mut(&connection) else { return 0 };
        peer.hold(prefix);
        let sent = peer.held_total + peer.ignored;
        self.note_full(connection, full);
        sent
    }

    /// Counts a subscription that was ignored. Returns the number as
    /// [`subscribe`](Self::subscribe) does.
    pub(super) fn ignore(&mut self, connection: u64) -> usize {
        let Some(peer) = self.peers.get_mut(&connection) else { return 0 };
        peer.ignored += 1;
        peer.held_total + peer.ignored
    }

    /// Removes a subscription. The end of one that is not in effect makes no room.
    pub(super) fn unsubscribe(&mut self, connection: u64, prefix: &[u8], full: usize) {
        let Some(peer) = self.peers.get_mut(&connection) else { return };
        let Some(count) = peer.held.get_mut(prefix) else { return };
        *count -= 1;
        if *count == 0 {
            peer.held.remove(prefix);
        }
        peer.held_total -= 1;
        self.note_full(connection, full);
    }

    /// Returns the number of ignored subscriptions of each peer that has any.
    pub(super) fn ignored(&self) -> FxHashMap<u64, usize> {
        let ignored = self.peers.iter().map(|(connection, peer)| (*connection, peer.ignored));
        ignored.filter(|(_, ignored)| *ignored > 0).collect()
    }

    /// Sets the subscriptions of a peer that are in effect, after events were missed, and the
    /// number of those that were ignored before. Returns the number as
    /// [`subscribe`](Self::subscribe) does.
    pub(super) fn restore<'p>(
        &mut self,
        connection: u64,
        prefixes: impl Iterator<Item = &'p [u8]>,
        ignored: usize,
        full: usize,
    ) -> usize {
        let Some(peer) = self.peers.get_mut(&connection) else { return 0 };
        prefixes.for_each(|prefix| peer.hold(prefix));
        peer.ignored = ignored;
        let sent = peer.held_total + peer.ignored;
        self.note_full(connection, full);
        sent
    }

    /// Returns whether further subscriptions of the peer with these facts are ignored.
    pub(super) fn is_full(&self, facts: &Arc<PeerAuthentication>) -> bool {
        self.full.contains(&address(facts))
    }

    fn note_full(&mut self, connection: u64, full: usize) {
        let Some(peer) = self.peers.get(&connection) else { return };
        match peer.held_total >= full {
            true => self.full.insert(address(&peer.facts)),
            false => self.full.remove(&address(&peer.facts)),
        };
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
            assert!(!counts.is_full(&facts));
            counts.unsubscribe(1, b"never subscribed", FULL);
            assert_eq!(counts.subscribe(1, prefix, FULL), number);
        }
        assert!(counts.is_full(&facts));
        assert_eq!(counts.ignore(1), FULL + 1);
        counts.unsubscribe(1, b"ignored", FULL);
        assert!(counts.is_full(&facts));
        counts.unsubscribe(1, b"a", FULL);
        assert!(!counts.is_full(&facts));
        // What was ignored stays counted, and each prefix ends once for each subscription.
        assert_eq!(counts.subscribe(1, b"c", FULL), FULL + 1);
        for prefix in [b"a", b"a", b"b", b"c"] {
            counts.unsubscribe(1, prefix, FULL);
        }
        assert_eq!(counts.subscribe(1, b"d", FULL), 2);
        assert_eq!(counts.subscribe(2, b"d", FULL), 0);
    }

    #[test]
    fn ignored_subscriptions_stay_counted_after_missed_events() {
        let (facts, mut before) =
            (Arc::<PeerAuthentication>::default(), SubscriptionCounts::default());
        before.add(1, &facts);
        before.add(2, &Arc::default());
        before.ignore(1);
        let ignored = before.ignored();
        assert_eq!((ignored.len(), ignored[&1]), (1, 1));
        let mut counts = SubscriptionCounts::default();
        counts.add(1, &facts);
        let held = [b"a", b"a", b"b"].map(|prefix| &prefix[..]);
        assert_eq!(counts.restore(1, held.into_iter(), ignored[&1], FULL), FULL + 1);
        assert!(counts.is_full(&facts));
        counts.remove(1);
        assert!(!counts.is_full(&facts));
    }
}
