//! The calls of a requester that have no outcome yet, as far as batches need to know.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use polywire_core::Deadline;
use polywire_core::message::CallId;
use rustc_hash::FxHashMap;

use crate::lock::lock;

/// The calls in flight, by their ids. Core bounds their number.
///
/// Core reports the end of most calls. The others leave with their deadlines.
#[derive(Default)]
pub(super) struct InFlightCalls {
    calls: Mutex<FxHashMap<CallId, InFlightCall>>,
    /// The number of calls from which on those are removed whose deadlines have passed.
    swept_at: AtomicUsize,
}

struct InFlightCall {
    deadline: Deadline,
    /// Set once the call was sent again after its batch came back.
    is_returned: bool,
}

impl InFlightCalls {
    /// Adds a call. Returns the number of calls before.
    pub(super) fn add(&self, id: CallId, deadline: Deadline) -> usize {
        let mut calls = self.calls();
        let before = calls.len();
        if before >= self.swept_at.load(Ordering::Relaxed).max(SWEPT_LEAST) {
            calls.retain(|_, call| !call.deadline.is_expired());
            self.swept_at.store(2 * calls.len(), Ordering::Relaxed);
        }
        calls.insert(id, InFlightCall { deadline, is_returned: false });
        before
    }

    /// Removes a call that has ended.
    pub(super) fn remove(&self, id: CallId) {
        self.calls().remove(&id);
    }

    /// Removes all calls.
    pub(super) fn clear(&self) {
        self.calls().clear();
    }

    /// Returns the deadline of a call whose batch has come back, if the call is to be sent again.
    /// One that has ended is not, and none is sent again a second time.
    pub(super) fn take_returned(&self, id: CallId) -> Option<Deadline> {
        let mut calls = self.calls();
        let call = calls.get_mut(&id)?;
        let is_first = !std::mem::replace(&mut call.is_returned, true);
        (is_first && !call.deadline.is_expired()).then_some(call.deadline)
    }

    fn calls(&self) -> MutexGuard<'_, FxHashMap<CallId, InFlightCall>> {
        lock(&self.calls)
    }
}

/// The least number of calls from which on expired ones are removed.
const SWEPT_LEAST: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(1))
    }

    #[tokio::test(start_paused = true)]
    async fn returned_call_is_sent_again_once_while_it_is_in_flight() {
        let calls = InFlightCalls::default();
        for id in 1..=4 {
            calls.add(CallId(id), soon());
        }
        calls.remove(CallId(1));
        let returned = |id| calls.take_returned(CallId(id)).is_some();
        assert!(!returned(1), "it has its reply");
        assert!(returned(2) && !returned(2));
        advance(Duration::from_secs(2)).await;
        assert!(!returned(3), "its deadline has passed");
        calls.clear();
        assert!(!returned(4));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_whose_end_is_not_reported_leave_with_their_deadlines() {
        let calls = InFlightCalls::default();
        for id in 0..SWEPT_LEAST {
            calls.add(CallId(id as u64), soon());
        }
        advance(Duration::from_secs(2)).await;
        calls.add(CallId(u64::MAX), soon());
        assert_eq!(calls.add(CallId(0), soon()), 1);
    }
}
