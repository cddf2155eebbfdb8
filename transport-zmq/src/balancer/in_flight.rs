//! In-flight calls of one peer, which fail together when its connection is lost. No I/O.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use polywire_core::message::CallId;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::call::InFlightCall;
use crate::error::lock;

/// The calls that were sent to one peer and have no reply yet.
///
/// The table is locked twice for each call: the call is added before its request is sent, and
/// removed with its reply. A call that ends by its deadline is not removed at once. So expired
/// calls are removed whenever the number of calls or of kept bytes has doubled, and every five
/// seconds by [`prune`](Self::prune). Core bounds the calls in flight and deadlines are finite, so
/// the table is bounded.
pub(super) struct InFlightCalls {
    /// Bytes of requests that may wait for replies. Beyond, senders wait for room.
    bytes_max: usize,
    state: Mutex<State>,
    /// Copies of the number of calls and of the bytes of their requests, read without the lock.
    count: AtomicUsize,
    bytes: AtomicUsize,
    /// Signals that the bytes have fallen below the bound.
    room: Notify,
}

#[derive(Default)]
struct State {
    calls: FxHashMap<CallId, InFlightCall>,
    prune_at: usize,
    /// Bytes of all requests.
    bytes: usize,
    /// Bytes of the requests that are kept to be sent again.
    kept_bytes: usize,
    prune_at_bytes: usize,
}

impl InFlightCalls {
    const PRUNE_MIN: usize = 1024;

    const PRUNE_MIN_BYTES: usize = 1 << 20;

    /// Creates an empty table with a bound on the bytes of requests.
    pub(super) fn new(bytes_max: usize) -> Self {
        let [count, bytes] = [(); 2].map(|()| AtomicUsize::new(0));
        Self { bytes_max, state: Mutex::default(), count, bytes, room: Notify::new() }
    }

    /// Adds a call. One without an id gets no reply, and is not added.
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

    /// Returns the number of calls, with those that have expired since the last pruning.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns whether so many bytes of requests wait for replies that no more may be sent. A
    /// single request may be of any size.
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

    /// Removes expired calls.
    pub(super) fn prune(&self) {
        let mut state = self.state();
        state.prune();
        self.publish(&state);
    }

    /// Removes a call that has its reply, or was not sent after all.
    pub(super) fn remove(&self, id: CallId) -> Option<InFlightCall> {
        let mut state = self.state();
        let call = state.calls.remove(&id)?;
        state.kept_bytes -= call.kept_bytes();
        state.bytes -= call.size;
        self.publish(&state);
        Some(call)
    }

    /// Removes all calls.
    pub(super) fn remove_all(&self) -> Vec<InFlightCall> {
        let mut state = self.state();
        let removed = std::mem::take(&mut *state);
        self.publish(&state);
        removed.calls.into_values().collect()
    }

    /// Publishes the counts, and wakes senders if there is room again.
    fn publish(&self, state: &State) {
        self.count.store(state.calls.len(), Ordering::Relaxed);
        let before = self.bytes.swap(state.bytes, Ordering::Relaxed);
        if before >= self.bytes_max && state.bytes < self.bytes_max {
            self.room.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn prune(&mut self) {
        self.calls.retain(|_, call| !call.is_expired());
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
    use crate::wire::Frames;

    const BYTES_MAX: usize = 1 << 20;

    fn call(id: u64) -> InFlightCall {
        let deadline = Deadline::after(Duration::from_millis(10));
        InFlightCall::new(Some(CallId(id)), Some(deadline), false)
    }

    #[tokio::test(start_paused = true)]
    async fn expired_calls_are_removed_in_time() {
        let calls = InFlightCalls::new(BYTES_MAX);
        for id in 0..100_000 {
            calls.add(call(id));
            tokio::time::advance(Duration::from_micros(100)).await;
        }
        assert!(calls.count() <= 2 * InFlightCalls::PRUNE_MIN);
        assert_eq!(calls.count(), calls.state().calls.len());
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
        tokio::time::advance(Duration::from_millis(20)).await;
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
