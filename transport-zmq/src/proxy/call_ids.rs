//! The call ids of the requests that a proxy has passed on. No I/O.
//!
//! A server replies by call id, and the ids of two clients may be equal. Each call therefore gets
//! another id, its number, at the backend. Its reply gets the id of the client again.

use std::time::Duration;

use bytes::Bytes;
use polywire_core::Deadline;
use polywire_core::message::CallId;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::balancer::CANCEL_GRACE;

/// The calls that are in flight at the backend.
///
/// There are at most [`CallIdMap::MAX`], and at most [`CallIdMap::PEER_MAX`] of one client. Expired
/// calls are removed when room is needed.
#[derive(Default)]
pub(super) struct CallIdMap {
    calls: FxHashMap<CallId, CallOrigin>,
    /// The numbers of the calls, by client and the call id of the client.
    numbers: FxHashMap<(Bytes, CallId), CallId>,
    /// The number of calls of each client.
    peers: FxHashMap<Bytes, usize>,
    /// The last number that was given.
    last: u64,
    /// The number of calls at which expired calls are removed next: twice the calls that remained
    /// the last time, so that the cost of a search is spread over as many calls.
    prune_at: usize,
    /// The time of the last search.
    pruned: Option<Instant>,
}

/// The client that sent a call, and the call id of the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CallOrigin {
    /// The address of the client at the frontend.
    pub(super) peer: Bytes,
    /// The call id of the client.
    pub(super) id: CallId,
    deadline: Deadline,
}

impl CallIdMap {
    /// The maximum of calls in flight. Further calls are refused.
    pub(super) const MAX: usize = 1 << 20;
    /// The maximum of calls in flight of one client, so that others have room: as many as a client
    /// allows itself by default.
    pub(super) const PEER_MAX: usize = 1 << 17;
    /// The number of calls below which no search is worth its cost.
    const PRUNE_MIN: usize = 1024;
    /// The pause between two searches for expired calls while the map is full. A search for each
    /// refused call would delay the other calls.
    const PRUNE_PAUSE: Duration = Duration::from_secs(1);

    /// Adds a call, and returns its number. Returns `None` if there are too many calls.
    ///
    /// A call id that the client has used before does not replace the earlier call. A cancel then
    /// finds the later one.
    pub(super) fn enter(&mut self, peer: Bytes, id: CallId, deadline: Deadline) -> Option<CallId> {
        if self.is_full(&peer) {
            self.prune_if_due();
            if self.is_full(&peer) {
                return None;
            }
        } else if self.calls.len() >= self.prune_at.max(Self::PRUNE_MIN) {
            // A client sends a cancel at the deadline, which has to find the call.
            self.prune(CANCEL_GRACE);
        }
        self.last += 1;
        let number = CallId(self.last);
        *self.peers.entry(peer.clone()).or_default() += 1;
        self.numbers.insert((peer.clone(), id), number);
        self.calls.insert(number, CallOrigin { peer, id, deadline });
        Some(number)
    }

    /// Removes a call that has a reply.
    ///
    /// `None` for a call that has had its reply, was cancelled, or was removed after its deadline.
    pub(super) fn take(&mut self, number: CallId) -> Option<CallOrigin> {
        let origin = self.calls.remove(&number)?;
        count_down(&mut self.peers, &origin.peer);
        forget(&mut self.numbers, &origin, number);
        Some(origin)
    }

    /// Removes a call that its client has cancelled. Returns its number.
    pub(super) fn abandon(&mut self, peer: &Bytes, id: CallId) -> Option<CallId> {
        let number = *self.numbers.get(&(peer.clone(), id))?;
        self.take(number).map(|_| number)
    }

    /// Returns whether every call has a reply, or has expired.
    pub(super) fn is_done(&self) -> bool {
        self.calls.values().all(|origin| origin.deadline.is_expired())
    }

    /// Returns whether one more call of this client would be too many.
    fn is_full(&self, peer: &Bytes) -> bool {
        self.calls.len() >= Self::MAX
            || self.peers.get(peer).is_some_and(|calls| *calls >= Self::PEER_MAX)
    }

    /// Removes expired calls, at most once in a second.
    fn prune_if_due(&mut self) {
        if self.pruned.is_none_or(|pruned| pruned.elapsed() >= Self::PRUNE_PAUSE) {
            // Without room, a call in time counts for more than the cancel of one that has expired.
            self.prune(Duration::ZERO);
        }
    }

    /// Removes the calls whose deadlines passed longer ago than `grace`.
    fn prune(&mut self, grace: Duration) {
        let now = Instant::now();
        let (peers, numbers) = (&mut self.peers, &mut self.numbers);
        self.calls.retain(|number, origin| {
            let is_awaited = now < origin.deadline.instant() + grace;
            if !is_awaited {
                count_down(peers, &origin.peer);
                forget(numbers, origin, *number);
            }
            is_awaited
        });
        self.prune_at = self.calls.len() * 2;
        self.pruned = Some(Instant::now());
    }
}

/// Removes the number of a call, unless its client has reused the call id since.
fn forget(numbers: &mut FxHashMap<(Bytes, CallId), CallId>, origin: &CallOrigin, number: CallId) {
    let key = (origin.peer.clone(), origin.id);
    if numbers.get(&key) == Some(&number) {
        numbers.remove(&key);
    }
}

/// Decrements the count of a client.
pub(super) fn count_down(peers: &mut FxHashMap<Bytes, usize>, peer: &Bytes) {
    if let Some(calls) = peers.get_mut(peer) {
        *calls -= 1;
        if *calls == 0 {
            peers.remove(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn equal_call_ids_of_two_clients_are_distinct_and_taken_once() {
        let mut map = CallIdMap::default();
        let deadline = Deadline::after(Duration::from_secs(1));
        let [one, other] =
            ["a", "b"].map(|peer| map.enter(peer.into(), CallId(7), deadline).unwrap());
        assert_ne!(one, other);
        assert!(!map.is_done());
        assert_eq!(map.take(other).unwrap().peer, "b");
        assert_eq!(map.take(other), None);
        assert_eq!(map.take(one).unwrap().id, CallId(7));
        assert!(map.is_done());
        assert!(map.peers.is_empty() && map.numbers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn only_its_own_client_abandons_a_call() {
        let mut map = CallIdMap::default();
        let deadline = Deadline::after(Duration::from_secs(1));
        let [one, other] =
            ["a", "b"].map(|peer| map.enter(peer.into(), CallId(7), deadline).unwrap());
        assert_eq!(map.abandon(&"a".into(), CallId(8)), None);
        assert_eq!(map.abandon(&"b".into(), CallId(7)), Some(other));
        assert_eq!(map.abandon(&"b".into(), CallId(7)), None);
        assert_eq!(map.take(one).unwrap().peer, "a");
        // A call id that is used twice means the later call. Both are removed in the end.
        let [first, second] = [(); 2].map(|()| map.enter("a".into(), CallId(7), deadline).unwrap());
        assert!(map.take(first).is_some());
        assert_eq!(map.abandon(&"a".into(), CallId(7)), Some(second));
        assert!(map.is_done() && map.peers.is_empty() && map.numbers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn expired_calls_are_removed() {
        let mut map = CallIdMap::default();
        for id in 0..20_000 {
            map.enter(Bytes::new(), CallId(id), Deadline::after(Duration::from_millis(10)))
                .unwrap();
            tokio::time::advance(Duration::from_millis(2)).await;
        }
        assert!(map.calls.len() <= 2 * CallIdMap::PRUNE_MIN);
        assert_eq!(map.peers.values().sum::<usize>(), map.calls.len());
        assert_eq!(map.numbers.len(), map.calls.len());
    }

    #[tokio::test(start_paused = true)]
    async fn cancel_at_the_deadline_finds_a_call_that_was_pruned() {
        let mut map = CallIdMap::default();
        let deadline = Deadline::after(Duration::from_millis(10));
        let numbers = [0, 1].map(|id| map.enter("a".into(), CallId(id), deadline).unwrap());
        tokio::time::advance(Duration::from_millis(10)).await;
        map.prune(CANCEL_GRACE);
        assert!(map.is_done(), "nobody waits for the replies");
        assert_eq!(map.abandon(&"a".into(), CallId(0)), Some(numbers[0]));
        tokio::time::advance(CANCEL_GRACE).await;
        map.prune(CANCEL_GRACE);
        assert_eq!(map.abandon(&"a".into(), CallId(1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_leaves_room_for_others_and_regains_its_own() {
        let mut map = CallIdMap::default();
        let deadline = Deadline::after(Duration::from_secs(10));
        for id in 0..CallIdMap::PEER_MAX as u64 {
            map.enter("greedy".into(), CallId(id), deadline).unwrap();
        }
        assert_eq!(map.enter("greedy".into(), CallId(0), deadline), None);
        assert!(map.enter("modest".into(), CallId(0), deadline).is_some());
        // A full map searches for expired calls once a second only.
        let pruned = map.pruned;
        assert_eq!(map.enter("greedy".into(), CallId(0), deadline), None);
        assert_eq!(map.pruned, pruned);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(map.enter("greedy".into(), CallId(0), deadline).is_some());
    }
}
