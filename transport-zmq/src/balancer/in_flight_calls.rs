//! In-flight calls of one peer, which fail together when its connection is lost. No I/O.
//!
//! Core knows each call as well, in its pending calls: the id, the task that waits, and the slot
//! for the reply. That table cannot replace this one. Core knows no peers, so its table does not
//! record which peer has a call. A proxy, which balances calls of other processes, has no pending
//! calls at all. This table in turn has no waker and delivers no reply. It answers three questions
//! about one connection: which calls are lost with it, how many bytes wait for replies, and which
//! request to send again.

use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use polywire_core::message::CallId;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::in_flight_call::InFlightCall;
use crate::lock::lock;

/// The calls that were sent to one peer and have no reply yet.
///
/// The table is locked twice for each call. The call is added before its request is sent, because
/// the reply may arrive before the send returns. The call is removed with its reply. A third time
/// is needed only if the engine has no room after all, or the caller cancels.
///
/// A call that ends by its deadline is not removed at once, because no task here watches deadlines.
/// So expired calls are removed whenever the number of calls or of kept bytes has doubled, and
/// every five seconds by [`prune`](Self::prune). Their requests are dropped first, and the entries
/// a second later: until then, a cancel has to find the peer. Core bounds the calls in flight and
/// deadlines are finite, so the table is bounded. Pruning at each doubling makes the cost per call
/// constant.
pub(super) struct InFlightCalls {
    /// Bytes of requests that may wait for replies. Beyond, senders wait for room. See
    /// [`ZmqBuilder::peer_bytes_max`](crate::ZmqBuilder::peer_bytes_max).
    bytes_max: usize,
    /// The table. The lock is held for one operation.
    state: Mutex<CallTable>,
    /// Copy of the number of calls. Balancing compares it for each message, without the lock.
    count: AtomicUsize,
    /// Copy of the bytes of all requests, read for each message without the lock.
    bytes: AtomicUsize,
    /// Signals that the bytes have fallen below the bound. Not signaled while they stay below.
    room: Notify,
}

/// The outcome of [`InFlightCalls::remove_unless`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replied {
    /// The call was not in the table: it was lost, given up, or pruned.
    Absent,
    /// The call was removed.
    Removed,
    /// The call is still in the table.
    Stays,
}

/// The table and its sums, which change together under the lock.
#[derive(Default)]
struct CallTable {
    /// The calls by id. The ids are unique within the requester or proxy, which assigns them.
    calls: FxHashMap<CallId, InFlightCall>,
    /// Number of calls at which expired ones are removed: twice the number after the last time.
    prune_at: usize,
    /// Bytes of all requests.
    bytes: usize,
    /// Bytes of the requests that are kept to be sent again.
    kept_bytes: usize,
    /// Number of kept bytes at which expired calls are removed: twice the number after the last
    /// time.
    prune_at_bytes: usize,
}

impl InFlightCalls {
    /// Calls below which none is looked through for expired ones: 1,024.
    const PRUNE_MIN: usize = 1024;

    /// Kept bytes below which no call is looked through for expired ones: 1 MiB.
    const PRUNE_MIN_BYTES: usize = 1 << 20;

    /// Creates an empty table with a bound on the bytes of requests.
    pub(super) fn new(bytes_max: usize) -> Self {
        let [count, bytes] = [(); 2].map(|()| AtomicUsize::new(0));
        Self { bytes_max, state: Mutex::default(), count, bytes, room: Notify::new() }
    }

    /// Adds a call, before its request is sent. One without an id gets no reply, and is not added.
    ///
    /// An entry with the same id is replaced: the call was sent to this peer before, and its old
    /// attempt is not counted any more.
    pub(super) fn add(&self, call: InFlightCall) {
        let Some(id) = call.id else { return };
        let mut state = self.state();
        if state.calls.len() >= state.prune_at.max(Self::PRUNE_MIN)
            || state.kept_bytes >= state.prune_at_bytes.max(Self::PRUNE_MIN_BYTES)
        {
            state.prune();
        }
        state.kept_bytes += call.kept_bytes();
        state.bytes += call.size;
        if let Some(before) = state.calls.insert(id, call) {
            state.kept_bytes -= before.kept_bytes();
            state.bytes -= before.size;
        }
        self.publish(&state);
    }

    /// Returns the number of calls, with those that have expired since the last pruning. Concurrent
    /// changes may be missed; the balance does not need the exact number.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns whether so many bytes of requests wait for replies that no more may be sent.
    ///
    /// A single request may be of any size, since the check comes before the request is counted.
    /// Removes expired calls before it returns `true`.
    pub(super) fn is_full(&self) -> bool {
        if self.bytes.load(Ordering::Relaxed) >= self.bytes_max {
            self.prune();
        }
        self.bytes.load(Ordering::Relaxed) >= self.bytes_max
    }

    /// Waits until there is room for a request. The future may be dropped at any time.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Enabled before the check, so that no removal in between is missed.
            room.as_mut().enable();
            if !self.is_full() {
                return;
            }
            room.await;
        }
    }

    /// Removes expired calls, and wakes senders if that makes room. Takes time in proportion to the
    /// number of calls.
    pub(super) fn prune(&self) {
        let mut state = self.state();
        state.prune();
        self.publish(&state);
    }

    /// Removes a call that has its reply, is cancelled, or was not sent after all. Returns `None`
    /// if the call has expired and was pruned, or was removed with a lost connection.
    pub(super) fn remove(&self, id: CallId) -> Option<InFlightCall> {
        let mut state = self.state();
        let call = state.calls.remove(&id)?;
        state.kept_bytes -= call.kept_bytes();
        state.bytes -= call.size;
        self.publish(&state);
        Some(call)
    }

    /// Removes a call that has its reply, unless the call `stays` because its reply is not the last
    /// one. `stays` runs under the lock, and must not use the table.
    pub(super) fn remove_unless(
        &self,
        id: CallId,
        stays: impl FnOnce(&InFlightCall) -> bool,
    ) -> Replied {
        let mut state = self.state();
        let Entry::Occupied(entry) = state.calls.entry(id) else { return Replied::Absent };
        if stays(entry.get()) {
            return Replied::Stays;
        }
        let call = entry.remove();
        state.kept_bytes -= call.kept_bytes();
        state.bytes -= call.size;
        self.publish(&state);
        Replied::Removed
    }

    /// Returns whether a call is in the table.
    pub(super) fn contains(&self, id: CallId) -> bool {
        self.state().calls.contains_key(&id)
    }

    /// Removes all calls, because the connection is lost. Expired calls are among them.
    pub(super) fn remove_all(&self) -> Vec<InFlightCall> {
        let mut state = self.state();
        let removed = std::mem::take(&mut *state);
        self.publish(&state);
        removed.calls.into_values().collect()
    }

    /// Publishes the sums for readers without the lock, and wakes senders if there is room again.
    fn publish(&self, state: &CallTable) {
        self.count.store(state.calls.len(), Ordering::Relaxed);
        let before = self.bytes.swap(state.bytes, Ordering::Relaxed);
        if before >= self.bytes_max && state.bytes < self.bytes_max {
            self.room.notify_waiters();
        }
    }

    /// Locks the table. The guard must not be held across another call of this type.
    fn state(&self) -> MutexGuard<'_, CallTable> {
        lock(&self.state)
    }
}

impl CallTable {
    /// Removes calls that are over, drops the requests of expired ones, and computes the sums anew.
    fn prune(&mut self) {
        self.calls.retain(|_, call| {
            if call.is_expired() {
                call.forget_request();
            }
            !call.has_outcome()
        });
        self.kept_bytes = self.calls.values().map(InFlightCall::kept_bytes).sum();
        self.bytes = self.calls.values().map(|call| call.size).sum();
        (self.prune_at, self.prune_at_bytes) = (self.calls.len() * 2, self.kept_bytes * 2);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use polywire_core::Deadline;

    use super::*;
    use crate::balancer::CANCEL_GRACE;
    use crate::wire::Frames;

    const BYTES_MAX: usize = 1 << 20;

    fn call(id: u64) -> InFlightCall {
        let deadline = Deadline::after(Duration::from_millis(10));
        InFlightCall::new(Some(CallId(id)), Some(deadline), false)
    }

    #[tokio::test(start_paused = true)]
    async fn expired_calls_are_removed_in_time() {
        let calls = InFlightCalls::new(BYTES_MAX);
        for id in 0..20_000 {
            calls.add(call(id));
            tokio::time::advance(Duration::from_millis(2)).await;
        }
        assert!(calls.count() <= 2 * InFlightCalls::PRUNE_MIN);
        assert_eq!(calls.count(), calls.state().calls.len());
    }

    #[tokio::test(start_paused = true)]
    async fn cancel_at_the_deadline_finds_a_call_that_was_pruned() {
        let calls = InFlightCalls::new(BYTES_MAX);
        let frames = Frames { head: vec![0; 1000].into(), body: None };
        for id in 0..2 {
            calls.add(call(id).sent_to(0, &frames, true));
        }
        tokio::time::advance(Duration::from_millis(10)).await;
        calls.prune();
        assert_eq!((calls.bytes.load(Ordering::Relaxed), calls.count()), (0, 2));
        assert!(calls.remove(CallId(0)).is_some_and(|call| !call.is_kept()));
        tokio::time::advance(CANCEL_GRACE).await;
        calls.prune();
        assert!(calls.remove(CallId(1)).is_none());
    }

    #[test]
    fn reply_that_is_not_the_last_one_leaves_the_call_in_the_table() {
        let calls = InFlightCalls::new(BYTES_MAX);
        let frames = Frames { head: vec![0; 1000].into(), body: None };
        calls.add(InFlightCall::new(Some(CallId(1)), None, false).sent_to(0, &frames, true));
        assert_eq!(calls.remove_unless(CallId(2), |_| true), Replied::Absent);
        assert_eq!(calls.remove_unless(CallId(1), InFlightCall::is_kept), Replied::Stays);
        assert!(calls.contains(CallId(1)));
        assert_eq!(calls.remove_unless(CallId(1), |_| false), Replied::Removed);
        assert!(!calls.contains(CallId(1)));
        assert_eq!((calls.count(), calls.bytes.load(Ordering::Relaxed)), (0, 0));
        assert_eq!(calls.state().kept_bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn large_requests_of_expired_calls_are_removed_in_time() {
        let calls = InFlightCalls::new(BYTES_MAX);
        let frames = Frames { head: vec![0; 100_000].into(), body: None };
        for id in 0..1000 {
            calls.add(call(id).sent_to(0, &frames, true));
            tokio::time::advance(Duration::from_millis(5)).await;
        }
        assert!(calls.state().kept_bytes <= 2 * InFlightCalls::PRUNE_MIN_BYTES);
        tokio::time::advance(CANCEL_GRACE + Duration::from_millis(20)).await;
        calls.prune();
        // One guard: two in one assertion would deadlock.
        let state = calls.state();
        assert_eq!((state.calls.len(), state.kept_bytes, calls.count()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn large_requests_make_others_wait_until_some_have_replies() {
        let calls = InFlightCalls::new(BYTES_MAX);
        let frames = Frames { head: vec![0; BYTES_MAX / 2].into(), body: None };
        for id in 0..2 {
            assert!(!calls.is_full());
            let call = InFlightCall::new(Some(CallId(id)), None, false);
            calls.add(call.sent_to(0, &frames, false));
        }
        assert!(calls.is_full());
        let mut room = Box::pin(calls.room());
        assert!((&mut room).now_or_never().is_none());
        assert!(calls.remove(CallId(1)).is_some());
        assert!(room.now_or_never().is_some());
        // Expired calls take no room.
        calls.add(call(1).sent_to(0, &frames, false));
        assert!(calls.is_full());
        tokio::time::advance(Duration::from_millis(20)).await;
        assert!(!calls.is_full());
    }
}
