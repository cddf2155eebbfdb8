//! Whose calls a forwarder has passed on. No I/O.
//!
//! A server answers by number, and the numbers of two callers may be the same. So each call gets a number of the
//! forwarder's on its way there, and its own back on its way home.

use bytes::Bytes;
use polywire_core::{CallId, Deadline};
use rustc_hash::FxHashMap;

/// The calls that are not answered yet: at most [`Desk::MAX`], of which those are forgotten that have expired.
#[derive(Default)]
pub(super) struct Desk {
    calls: FxHashMap<CallId, Caller>,
    last: u64,
    prune_at: usize,
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
    const PRUNE_MIN: usize = 1024;

    /// Takes note of a call, and gives it a number. `None` if there are too many.
    pub(super) fn enter(&mut self, peer: Bytes, id: CallId, deadline: Deadline) -> Option<CallId> {
        if self.calls.len() >= self.prune_at.max(Self::PRUNE_MIN) {
            self.calls.retain(|_, caller| !caller.deadline.is_expired());
            self.prune_at = (self.calls.len() * 2).min(Self::MAX);
        }
        if self.calls.len() >= Self::MAX {
            return None;
        }
        self.last += 1;
        let number = CallId(self.last);
        self.calls.insert(number, Caller { peer, id, deadline });
        Some(number)
    }

    /// Takes out a call that was answered.
    pub(super) fn take(&mut self, number: CallId) -> Option<Caller> {
        self.calls.remove(&number)
    }

    /// Whether every call is answered, or given up by its caller.
    pub(super) fn is_done(&self) -> bool {
        self.calls.values().all(|caller| caller.deadline.is_expired())
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
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_expired_is_forgotten() {
        let mut desk = Desk::default();
        for id in 0..100_000 {
            desk.enter(Bytes::new(), CallId(id), Deadline::after(Duration::from_millis(10))).unwrap();
            tokio::time::advance(Duration::from_micros(100)).await;
        }
        assert!(desk.calls.len() <= 2 * Desk::PRUNE_MIN);
    }
}
