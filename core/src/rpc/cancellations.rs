//! The running calls of a server, which stop when their callers cancel.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::call_key::CallKey;
use crate::handler_stop_reason::StopReason;
use crate::message::ReplyTo;

/// The running calls of a server, at most a window of them.
///
/// A call that ends on the first poll is not entered. A call that was delivered twice is entered
/// once, and both deliveries stop when the caller cancels.
#[derive(Default)]
pub(super) struct Cancellations {
    calls: Mutex<HashMap<CallKey, RunningCall>>,
    early: EarlyCancels,
}

/// A running call, with the number of its deliveries that run here.
#[derive(Default)]
struct RunningCall {
    cancelled: Arc<Notify>,
    deliveries: usize,
    /// Set when the caller stops waiting because of the deadline.
    is_expired: bool,
}

/// The caller's reason to stop waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The caller cancelled.
    Cancelled,
    /// The deadline of the caller has passed.
    Expired,
}

/// Cancels that arrived before their calls.
///
/// Most of these calls run on other servers and never arrive, so only the latest
/// [`EARLY_CANCELS_MAX`] are kept. A caller that sends many takes the places of its own.
#[derive(Default)]
struct EarlyCancels {
    /// `true` once a cancel was kept, so that a server without cancels takes no lock.
    is_any: AtomicBool,
    calls: Mutex<EarlyCalls>,
}

#[derive(Default)]
struct EarlyCalls {
    known: HashSet<CallKey>,
    /// The calls in their order, with the oldest first.
    order: VecDeque<CallKey>,
    /// The number of calls of each caller.
    by_caller: HashMap<ReplyTo, usize>,
}

/// The number of early cancels that are kept.
const EARLY_CANCELS_MAX: usize = 1024;

impl EarlyCancels {
    fn insert(&self, key: &CallKey) {
        let mut calls = self.lock();
        if !calls.known.insert(key.clone()) {
            return;
        }
        calls.order.push_back(key.clone());
        *calls.by_caller.entry(key.0.clone()).or_default() += 1;
        if calls.order.len() > EARLY_CANCELS_MAX {
            calls.evict();
        }
        self.is_any.store(true, Ordering::Release);
    }

    fn contains(&self, key: impl Fn() -> Option<CallKey>) -> bool {
        self.is_any.load(Ordering::Acquire)
            && key().is_some_and(|key| self.lock().known.contains(&key))
    }

    fn lock(&self) -> MutexGuard<'_, EarlyCalls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EarlyCalls {
    /// Removes the oldest call of the caller that has most. On transports whose reply addresses
    /// contain the call, each caller has one, and the oldest call of all is removed.
    fn evict(&mut self) {
        let (callers, calls) = (self.by_caller.len(), self.order.len());
        let greediest = if callers == calls {
            None
        } else {
            self.by_caller.iter().max_by_key(|(_, calls)| **calls).map(|(caller, _)| caller)
        };
        let at = greediest
            .and_then(|caller| self.order.iter().position(|(other, _)| other == caller))
            .unwrap_or(0);
        let Some(evicted) = self.order.remove(at) else { return };
        self.known.remove(&evicted);
        if let Entry::Occupied(mut calls) = self.by_caller.entry(evicted.0) {
            *calls.get_mut() -= 1;
            if *calls.get() == 0 {
                calls.remove();
            }
        }
    }
}

impl Cancellations {
    /// Runs `work` and returns its output, unless the caller stops waiting first.
    ///
    /// The work is then dropped. Work that `outlives_caller` continues to its end. The `key` is
    /// made only if the work waits, or cancels have arrived before their calls.
    pub(super) async fn unless_cancelled<F: Future>(
        &self,
        key: impl Fn() -> Option<CallKey>,
        work: F,
        outlives_caller: impl Fn() -> bool,
    ) -> Result<F::Output, Stopped> {
        if self.early.contains(&key) {
            return Err(Stopped::Cancelled);
        }
        let mut work = pin!(Some(work));
        let mut cancelled = pin!(None);
        let mut registration: Option<Registration<'_>> = None;
        let done_or_cancelled = poll_fn(|cx| {
            let Some(running) = work.as_mut().as_pin_mut() else { return Poll::Pending };
            if let Poll::Ready(done) = running.poll(cx) {
                return Poll::Ready(Some(done));
            }
            if registration.is_none()
                && let Some(key) = key()
            {
                let (entry, notified) = self.register(key);
                registration = Some(entry);
                cancelled.set(Some(notified));
            }
            match cancelled.as_mut().as_pin_mut() {
                Some(notified) => notified.poll(cx).map(|()| None),
                None => Poll::Pending,
            }
        });
        if let Some(output) = done_or_cancelled.await {
            return Ok(output);
        }
        if let Some(running) = work.as_mut().as_pin_mut()
            && outlives_caller()
        {
            return Ok(running.await);
        }
        let reason =
            registration.as_ref().map_or(Stopped::Cancelled, |call| self.reason(&call.key));
        let stopped = match reason {
            Stopped::Cancelled => StopReason::Cancelled,
            Stopped::Expired => StopReason::DeadlineExceeded,
        };
        stopped.during(|| work.set(None));
        Err(reason)
    }

    /// Stops a call whose caller does not wait any more. A cancelled call that is not running is
    /// not started when it arrives later; a call that arrives after its deadline is known by that.
    pub(super) fn stop(&self, key: &CallKey, reason: Stopped) {
        match (self.lock().get_mut(key), reason) {
            (Some(call), _) => {
                call.is_expired = reason == Stopped::Expired;
                call.cancelled.notify_waiters();
            }
            (None, Stopped::Cancelled) => self.early.insert(key),
            (None, Stopped::Expired) => {}
        }
    }

    /// Returns the reason for which a running call was stopped.
    fn reason(&self, key: &CallKey) -> Stopped {
        let is_expired = self.lock().get(key).is_some_and(|call| call.is_expired);
        if is_expired { Stopped::Expired } else { Stopped::Cancelled }
    }

    /// Enters a delivery. Returns its entry, and the future that resolves on a cancel.
    fn register(&self, key: CallKey) -> (Registration<'_>, OwnedNotified) {
        let mut calls = self.lock();
        let call = calls.entry(key.clone()).or_default();
        call.deliveries += 1;
        let notified = call.cancelled.clone().notified_owned();
        drop(calls);
        (Registration { table: self, key }, notified)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallKey, RunningCall>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running delivery in the table. Dropping it removes the delivery, and the call with the last
/// delivery.
struct Registration<'c> {
    table: &'c Cancellations,
    key: CallKey,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut calls = self.table.lock();
        let Some(call) = calls.get_mut(&self.key) else { return };
        call.deliveries -= 1;
        if call.deliveries == 0 {
            calls.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt;

    use super::*;
    use crate::message::CallId;

    fn key(number: u64) -> CallKey {
        (ReplyTo::new("client"), Some(CallId(number)))
    }

    #[tokio::test]
    async fn cancelled_call_is_dropped_and_no_other_call() {
        let table = Cancellations::default();
        let (dropped, mut is_dropped) = tokio::sync::oneshot::channel::<()>();
        let work = async {
            pending::<()>().await;
            drop(dropped);
        };
        let mut one = Box::pin(table.unless_cancelled(|| Some(key(1)), work, || false));
        let mut other =
            Box::pin(table.unless_cancelled(|| Some(key(2)), pending::<()>(), || false));
        assert!((&mut one).now_or_never().is_none() && (&mut other).now_or_never().is_none());
        table.stop(&key(3), Stopped::Cancelled);
        assert!((&mut one).now_or_never().is_none());
        table.stop(&key(1), Stopped::Cancelled);
        assert_eq!((&mut one).now_or_never(), Some(Err(Stopped::Cancelled)));
        drop(one);
        assert!(is_dropped.try_recv().is_err());
        assert!((&mut other).now_or_never().is_none());
        drop(other);
        assert!(table.lock().is_empty());
    }

    #[tokio::test]
    async fn cancel_stops_both_deliveries_of_a_call() {
        let table = Cancellations::default();
        let mut both = [(); 2]
            .map(|()| Box::pin(table.unless_cancelled(|| Some(key(1)), pending::<()>(), || false)));
        both.iter_mut().for_each(|one| assert!(one.now_or_never().is_none()));
        table.stop(&key(1), Stopped::Cancelled);
        both.iter_mut()
            .for_each(|one| assert_eq!(one.now_or_never(), Some(Err(Stopped::Cancelled))));
    }

    #[tokio::test]
    async fn delivery_that_ends_leaves_the_other_registered() {
        let table = Cancellations::default();
        let (finish, finished) = tokio::sync::oneshot::channel();
        let mut one = Box::pin(table.unless_cancelled(|| Some(key(1)), finished, || false));
        let mut other =
            Box::pin(table.unless_cancelled(|| Some(key(1)), pending::<()>(), || false));
        assert!((&mut one).now_or_never().is_none() && (&mut other).now_or_never().is_none());
        finish.send(()).unwrap();
        assert_eq!((&mut one).now_or_never(), Some(Ok(Ok(()))));
        drop(one);
        table.stop(&key(1), Stopped::Cancelled);
        assert_eq!((&mut other).now_or_never(), Some(Err(Stopped::Cancelled)));
    }

    #[tokio::test]
    async fn call_that_was_cancelled_before_it_arrived_is_not_started() {
        let table = Cancellations::default();
        for number in 0..=EARLY_CANCELS_MAX as u64 {
            table.stop(&key(number), Stopped::Cancelled);
            table.stop(&key(number), Stopped::Cancelled);
        }
        let started =
            |number| table.unless_cancelled(move || Some(key(number)), ready(5), || false);
        assert_eq!(started(1).await, Err(Stopped::Cancelled));
        assert_eq!(started(0).await, Ok(5), "the oldest is dropped");
        assert_eq!(started(5000).await, Ok(5));
    }

    #[tokio::test]
    async fn storm_of_early_cancels_takes_no_place_of_another_caller() {
        let table = Cancellations::default();
        let honest = (ReplyTo::new("honest"), Some(CallId(1)));
        table.stop(&honest, Stopped::Cancelled);
        for number in 0..5 * EARLY_CANCELS_MAX as u64 {
            table.stop(&key(number), Stopped::Cancelled);
        }
        assert_eq!(
            table.unless_cancelled(|| Some(honest.clone()), ready(5), || false).await,
            Err(Stopped::Cancelled)
        );
        // The latest of the storm are there as well, and no more than the bound.
        let calls = table.early.lock();
        assert!(calls.known.contains(&key(5 * EARLY_CANCELS_MAX as u64 - 1)));
        assert_eq!((calls.order.len(), calls.known.len()), (EARLY_CANCELS_MAX, EARLY_CANCELS_MAX));
        assert_eq!(calls.by_caller.values().sum::<usize>(), EARLY_CANCELS_MAX);
    }

    #[tokio::test]
    async fn call_that_ends_at_once_is_not_registered() {
        let table = Cancellations::default();
        assert_eq!(table.unless_cancelled(|| Some(key(1)), ready(5), || false).await, Ok(5));
        assert!(table.lock().is_empty());
    }

    #[tokio::test]
    async fn call_whose_deadline_passes_is_stopped_and_not_remembered() {
        let table = Cancellations::default();
        let mut running =
            Box::pin(table.unless_cancelled(|| Some(key(1)), pending::<()>(), || false));
        assert!((&mut running).now_or_never().is_none());
        table.stop(&key(1), Stopped::Expired);
        assert_eq!((&mut running).now_or_never(), Some(Err(Stopped::Expired)));
        table.stop(&key(2), Stopped::Expired);
        assert_eq!(table.unless_cancelled(|| Some(key(2)), ready(5), || false).await, Ok(5));
    }
}
