//! Whose calls a forwarder has passed on. No I/O.
//!
//! A server answers by number, and the numbers of two callers may be the same. So each call gets a number of the
//! forwarder's on its way there, and its own back on its way home.

use std::time::Duration;

use bytes::Bytes;
use polywire_core::{CallId, Deadline};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// The calls that are not answered yet: at most [`Desk::MAX`], and [`Desk::PEER_MAX`] of one peer, of which those are
/// forgotten that have expired.
#[derive(Default)]
pub(super) struct Desk {
    calls: FxHashMap<CallId, Caller>,
    /// How many of them each peer has.
    peers: FxHashMap<Bytes, usize>,
    last: u64,
    prune_at: usize,
    pruned: Option<Instant>,
}

/// Who waits for an answer, and under which number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) peer: Bytes,
    pub(super) id: CallId,
    deadline: Deadline,
}

impl Desk {
    /// Calls in flight. What is beyond is refused.
    pub(super) const MAX: usize = 1 << 20;
    /// Those of one peer, which is not to leave nothing to the others: as many as a caller has by default.
    pub(super) const PEER_MAX: usize = 1 << 17;
    const PRUNE_MIN: usize = 1024;
    /// Looking through all calls for each one that is refused would hold up those that are not.
    const PRUNE_PAUSE: Duration = Duration::from_secs(1);

    /// Takes note of a call, and gives it a number. `None` if there are too many.
    pub(super) fn enter(&mut self, peer: Bytes, id: CallId, deadline: Deadline) -> Option<CallId> {
        if self.is_full(&peer) {
            self.prune_once_in_a_while();
            if self.is_full(&peer) {
                return None;
            }
        } else if self.calls.len() >= self.prune_at.max(Self::PRUNE_MIN) {
            self.prune();
        }
        self.last += 1;
        let number = CallId(self.last);
        *self.peers.entry(peer.clone()).or_default() += 1;
        self.calls.insert(number, Caller { peer, id, deadline });
        Some(number)
    }

    /// Takes out a call that was answered.
    pub(super) fn take(&mut self, number: CallId) -> Option<Caller> {
        let caller = self.calls.remove(&number)?;
        count_down(&mut self.peers, &caller.peer);
        Some(caller)
    }

    /// Whether every call is answered, or given up by its caller.
    pub(super) fn is_done(&self) -> bool {
        self.calls.values().all(|caller| caller.deadline.is_expired())
    }

    fn is_full(&self, peer: &Bytes) -> bool {
        self.calls.len() >= Self::MAX || self.peers.get(peer).is_some_and(|calls| *calls >= Self::PEER_MAX)
    }

    fn prune_once_in_a_while(&mut self) {
        if self.pruned.is_none_or(|pruned| pruned.elapsed() >= Self::PRUNE_PAUSE) {
            self.prune();
        }
    }

    fn prune(&mut self) {
        let peers = &mut self.peers;
        self.calls.retain(|_, caller| {
            let is_awaited = !caller.deadline.is_expired();
            if !is_awaited {
                count_down(peers, &caller.peer);
            }
            is_awaited
        });
        self.prune_at = self.calls.len() * 2;
        self.pruned = Some(Instant::now());
    }
}

/// Counts one less for a peer.
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
    async fn calls_of_two_callers_are_told_apart_and_answered_once() {
        let mut desk = Desk::default();
        let deadline = Deadline::after(Duration::from_secs(1));
        let [one, other] = ["a", "b"].map(|peer| desk.enter(peer.into(), CallId(7), deadline).unwrap());
        assert_ne!(one, other);
        assert!(!desk.is_done());
        assert_eq!(desk.take(other).unwrap().peer, "b");
        assert_eq!(desk.take(other), None);
        assert_eq!(desk.take(one).unwrap().id, CallId(7));
        assert!(desk.is_done());
        assert!(desk.peers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_expired_is_forgotten() {
        let mut desk = Desk::default();
        for id in 0..100_000 {
            desk.enter(Bytes::new(), CallId(id), Deadline::after(Duration::from_millis(10))).unwrap();
            tokio::time::advance(Duration::from_micros(100)).await;
        }
        assert!(desk.calls.len() <= 2 * Desk::PRUNE_MIN);
        assert_eq!(desk.peers.values().sum::<usize>(), desk.calls.len());
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_leaves_room_for_the_others_and_gets_its_own_back() {
        let mut desk = Desk::default();
        let deadline = Deadline::after(Duration::from_secs(10));
        for id in 0..Desk::PEER_MAX as u64 {
            desk.enter("greedy".into(), CallId(id), deadline).unwrap();
        }
        assert_eq!(desk.enter("greedy".into(), CallId(0), deadline), None);
        assert!(desk.enter("modest".into(), CallId(0), deadline).is_some());
        // It looks for what has expired once a second, however often it is asked.
        let pruned = desk.pruned;
        assert_eq!(desk.enter("greedy".into(), CallId(0), deadline), None);
        assert_eq!(desk.pruned, pruned);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(desk.enter("greedy".into(), CallId(0), deadline).is_some());
    }
}
