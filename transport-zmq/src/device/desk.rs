//! Whose calls a forwarder has passed on. No I/O.
//!
//! A server answers by number, and the numbers of two callers may be the same. So each call gets a
//! number of the forwarder's on its way there, and its own back on its way home.

use std::time::Duration;

use bytes::Bytes;
use polywire_core::Deadline;
use polywire_core::message::CallId;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// The calls that are not answered yet: at most [`Desk::MAX`], and [`Desk::PEER_MAX`] of one peer,
/// of which those are forgotten that have expired.
#[derive(Default)]
pub(super) struct Desk {
    calls: FxHashMap<CallId, Caller>,
    /// Which call is whose.
    numbers: FxHashMap<(Bytes, CallId), CallId>,
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
    /// Those of one peer, which is not to leave nothing to the others: as many as a caller has by
    /// default.
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
        self.numbers.insert((peer.clone(), id), number);
        self.calls.insert(number, Caller { peer, id, deadline });
        Some(number)
    }

    /// Takes out a call that was answered.
    pub(super) fn take(&mut self, number: CallId) -> Option<Caller> {
        let caller = self.calls.remove(&number)?;
        count_down(&mut self.peers, &caller.peer);
        forget(&mut self.numbers, &caller, number);
        Some(caller)
    }

    /// Takes out a call that its caller does not wait for any more. Returns its number.
    pub(super) fn abandon(&mut self, peer: &Bytes, id: CallId) -> Option<CallId> {
        let number = *self.numbers.get(&(peer.clone(), id))?;
        self.take(number).map(|_| number)
    }

    /// Whether every call is answered, or given up by its caller.
    pub(super) fn is_done(&self) -> bool {
        self.calls.values().all(|caller| caller.deadline.is_expired())
    }

    fn is_full(&self, peer: &Bytes) -> bool {
        self.calls.len() >= Self::MAX
            || self.peers.get(peer).is_some_and(|calls| *calls >= Self::PEER_MAX)
    }

    fn prune_once_in_a_while(&mut self) {
        if self.pruned.is_none_or(|pruned| pruned.elapsed() >= Self::PRUNE_PAUSE) {
            self.prune();
        }
    }

    fn prune(&mut self) {
        let (peers, numbers) = (&mut self.peers, &mut self.numbers);
        self.calls.retain(|number, caller| {
            let is_awaited = !caller.deadline.is_expired();
            if !is_awaited {
                count_down(peers, &caller.peer);
                forget(numbers, caller, *number);
            }
            is_awaited
        });
        self.prune_at = self.calls.len() * 2;
        self.pruned = Some(Instant::now());
    }
}

/// Forgets which call this is, unless its caller has used the number for another one since.
fn forget(numbers: &mut FxHashMap<(Bytes, CallId), CallId>, caller: &Caller, number: CallId) {
    let key = (caller.peer.clone(), caller.id);
    if numbers.get(&key) == Some(&number) {
        numbers.remove(&key);
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
        let [one, other] =
            ["a", "b"].map(|peer| desk.enter(peer.into(), CallId(7), deadline).unwrap());
        assert_ne!(one, other);
        assert!(!desk.is_done());
        assert_eq!(desk.take(other).unwrap().peer, "b");
        assert_eq!(desk.take(other), None);
        assert_eq!(desk.take(one).unwrap().id, CallId(7));
        assert!(desk.is_done());
        assert!(desk.peers.is_empty() && desk.numbers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_call_is_its_callers_own() {
        let mut desk = Desk::default();
        let deadline = Deadline::after(Duration::from_secs(1));
        let [one, other] =
            ["a", "b"].map(|peer| desk.enter(peer.into(), CallId(7), deadline).unwrap());
        assert_eq!(desk.abandon(&"a".into(), CallId(8)), None);
        assert_eq!(desk.abandon(&"b".into(), CallId(7)), Some(other));
        assert_eq!(desk.abandon(&"b".into(), CallId(7)), None);
        assert_eq!(desk.take(one).unwrap().peer, "a");
        // A number that is used twice means the later call, and both are forgotten in the end.
        let [first, second] =
            [(); 2].map(|()| desk.enter("a".into(), CallId(7), deadline).unwrap());
        assert!(desk.take(first).is_some());
        assert_eq!(desk.abandon(&"a".into(), CallId(7)), Some(second));
        assert!(desk.is_done() && desk.peers.is_empty() && desk.numbers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_expired_is_forgotten() {
        let mut desk = Desk::default();
        for id in 0..100_000 {
            desk.enter(Bytes::new(), CallId(id), Deadline::after(Duration::from_millis(10)))
                .unwrap();
            tokio::time::advance(Duration::from_micros(100)).await;
        }
        assert!(desk.calls.len() <= 2 * Desk::PRUNE_MIN);
        assert_eq!(desk.peers.values().sum::<usize>(), desk.calls.len());
        assert_eq!(desk.numbers.len(), desk.calls.len());
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
