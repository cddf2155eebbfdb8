//! The subscribers of an XPUB socket, and the prefixes that each subscribes to. No I/O.
//!
//! The crate matches subscriptions by itself. The table here is kept beside it, to learn which
//! links an event is for before it is queued.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::link::Link;
use crate::wire::SyncMarker;

/// The subscribers by the numbers of their links.
///
/// A subscriber is in the table while its link is open. The lock of the table belongs to the XPUB
/// socket.
#[derive(Debug, Default)]
pub(super) struct Subscribers(BTreeMap<u64, Subscriber>);

#[derive(Debug)]
struct Subscriber {
    link: Arc<Link>,
    /// The subscriptions in effect, those to sync markers included.
    prefixes: Prefixes,
    /// The number of subscriptions that were ignored.
    ignored: usize,
    /// Set after the first sync marker.
    ///
    /// Never cleared: a later marker replaces an earlier one.
    is_synced: bool,
}

/// Prefixes, each with the number of its subscriptions.
#[derive(Debug, Default)]
struct Prefixes {
    /// The subscriptions of each prefix. None has a count of 0.
    counts: FxHashMap<Bytes, usize>,
    /// The number of prefixes of each length. A frame is looked up once for each length, however
    /// many prefixes there are.
    lengths: BTreeMap<usize, usize>,
    /// The number of all subscriptions.
    total: usize,
}

impl Prefixes {
    fn add(&mut self, prefix: &Bytes) {
        let count = self.counts.entry(prefix.clone()).or_default();
        *count += 1;
        self.total += 1;
        if *count == 1 {
            *self.lengths.entry(prefix.len()).or_default() += 1;
        }
    }

    fn remove(&mut self, prefix: &[u8]) {
        let Some(count) = self.counts.get_mut(prefix) else { return };
        *count -= 1;
        self.total -= 1;
        if *count > 0 {
            return;
        }
        self.counts.remove(prefix);
        if let Some(of_length) = self.lengths.get_mut(&prefix.len()) {
            *of_length -= 1;
            if *of_length == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }

    /// Returns whether a first frame begins with one of the prefixes. The empty prefix matches
    /// every frame.
    fn matches(&self, frame: &[u8]) -> bool {
        let lengths = self.lengths.range(..=frame.len());
        lengths.into_iter().any(|(length, _)| self.counts.contains_key(&frame[..*length]))
    }
}

impl Subscribers {
    /// Adds a subscriber without subscriptions.
    pub(super) fn add(&mut self, link: Arc<Link>) {
        let prefixes = Prefixes::default();
        let subscriber = Subscriber { link, prefixes, ignored: 0, is_synced: false };
        self.0.insert(subscriber.link.number, subscriber);
    }

    /// Removes a subscriber.
    pub(super) fn remove(&mut self, number: u64) {
        self.0.remove(&number);
    }

    /// Adds a subscription, or ignores it if the subscriber has `max` already. A sync marker is
    /// never ignored. Returns the number of subscriptions of the subscriber, ignored ones included.
    ///
    /// Returns 0 for a subscriber that is not in the table. Subscriptions to one prefix count each.
    pub(super) fn subscribe(&mut self, number: u64, prefix: &Bytes, max: usize) -> usize {
        let Some(subscriber) = self.0.get_mut(&number) else { return 0 };
        let is_marker = SyncMarker::is_marker(prefix);
        if is_marker || subscriber.prefixes.total < max {
            subscriber.prefixes.add(prefix);
        } else {
            subscriber.ignored += 1;
        }
        subscriber.is_synced |= is_marker;
        subscriber.prefixes.total + subscriber.ignored
    }

    /// Removes a subscription, if there is one.
    pub(super) fn unsubscribe(&mut self, number: u64, prefix: &[u8]) {
        if let Some(subscriber) = self.0.get_mut(&number) {
            subscriber.prefixes.remove(prefix);
        }
    }

    /// Returns the subscribers of a message with this first frame.
    pub(super) fn of<'a>(&'a self, first: &'a [u8]) -> impl Iterator<Item = &'a Arc<Link>> + 'a {
        let matching = self.0.values().filter(|subscriber| subscriber.prefixes.matches(first));
        matching.map(|subscriber| &subscriber.link)
    }

    /// Returns the number of subscribers of exactly this prefix.
    pub(super) fn count(&self, prefix: &[u8]) -> u32 {
        let count = self.0.values().filter(|one| one.prefixes.counts.contains_key(prefix)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Returns the subscribers that have sent a sync marker.
    pub(super) fn synced(&self) -> impl Iterator<Item = &Arc<Link>> + '_ {
        self.0.values().filter(|subscriber| subscriber.is_synced).map(|subscriber| &subscriber.link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_counts_until_its_last_subscription_ends() {
        let mut prefixes = Prefixes::default();
        let (a, ab) = (Bytes::from_static(b"a"), Bytes::from_static(b"ab"));
        assert!(!prefixes.matches(b"abc"));
        prefixes.add(&ab);
        prefixes.add(&ab);
        prefixes.add(&a);
        prefixes.remove(b"ab");
        assert!(prefixes.matches(b"abc") && prefixes.matches(b"a") && !prefixes.matches(b"b"));
        prefixes.remove(b"a");
        assert!(prefixes.matches(b"abc") && !prefixes.matches(b"ac") && !prefixes.matches(b""));
        prefixes.remove(b"ab");
        prefixes.remove(b"ab");
        assert!(!prefixes.matches(b"abc") && prefixes.total == 0 && prefixes.lengths.is_empty());
        prefixes.add(&Bytes::new());
        assert!(prefixes.matches(b""));
    }
}
