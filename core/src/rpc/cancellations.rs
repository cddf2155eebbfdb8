//! The calls that a server carries out, so that they can be stopped when nobody waits for them any
//! more.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::deduplication::CallKey;

/// The calls that are being carried out, but for those that are done at once: at most a window of
/// them.
///
/// A call may be there twice, if it was delivered twice. Its key comes from the network, so it is
/// hashed with care.
#[derive(Default)]
pub(super) struct Cancellations {
    calls: Mutex<HashMap<CallKey, Arc<Notify>>>,
    missed: EarlyCancels,
}

/// Calls that were abandoned while they were not being carried out: they may come later. As others
/// carry out most of them, only the latest are remembered.
#[derive(Default)]
struct EarlyCancels {
    /// So that nobody who comes takes a lock for nothing.
    is_any: AtomicBool,
    /// The oldest first.
    calls: Mutex<(HashSet<CallKey>, VecDeque<CallKey>)>,
}

/// How many are remembered.
const MISSED_MAX: usize = 1024;

impl EarlyCancels {
    fn note(&self, caller: &CallKey) {
        let mut calls = self.lock();
        let (known, order) = &mut *calls;
        if !known.insert(caller.clone()) {
            return;
        }
        order.push_back(caller.clone());
        if order.len() > MISSED_MAX
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        self.is_any.store(true, Ordering::Release);
    }

    fn contains(&self, caller: &CallKey) -> bool {
        self.is_any.load(Ordering::Acquire) && self.lock().0.contains(caller)
    }

    fn lock(&self) -> MutexGuard<'_, (HashSet<CallKey>, VecDeque<CallKey>)> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cancellations {
    /// What `work` comes to; `None`, if its caller stops waiting before, in which case the work is
    /// dropped, unless the caller `is_answered`.
    pub(super) async fn unless_abandoned<F: Future>(
        &self,
        caller: CallKey,
        work: F,
        is_answered: impl Fn() -> bool,
    ) -> Option<F::Output> {
        if self.missed.contains(&caller) {
            return None;
        }
        tokio::pin!(work);
        let mut place = None;
        let abandoned = poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            let place = place.get_or_insert_with(|| self.enter(caller.clone()));
            place.abandoned.as_mut().poll(cx).map(|()| None)
        });
        match abandoned.await {
            None if is_answered() => Some(work.await),
            outcome => outcome,
        }
    }

    /// Stops a call, if it is being carried out; if it comes later, it is not begun.
    pub(super) fn abandon(&self, caller: &CallKey) {
        match self.lock().get(caller) {
            Some(abandoned) => abandoned.notify_waiters(),
            None => self.missed.note(caller),
        }
    }

    fn enter(&self, caller: CallKey) -> Registration<'_> {
        let notify = self.lock().entry(caller.clone()).or_default().clone();
        Registration { underway: self, caller, abandoned: Box::pin(notify.notified_owned()) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallKey, Arc<Notify>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a call in the table.
struct Registration<'u> {
    underway: &'u Cancellations,
    caller: CallKey,
    abandoned: Pin<Box<OwnedNotified>>,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut underway = self.underway.lock();
        // The table's own, and that of this place, which is still there.
        if underway.get(&self.caller).is_some_and(|notify| Arc::strong_count(notify) <= 2) {
            underway.remove(&self.caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt;

    use super::*;
    use crate::message::{CallId, ReplyTo};

    fn caller(number: u64) -> CallKey {
        (ReplyTo::new("client"), Some(CallId(number)))
    }

    #[tokio::test]
    async fn abandoned_call_is_dropped_and_no_other_one() {
        let underway = Cancellations::default();
        let (dropped, mut is_dropped) = tokio::sync::oneshot::channel::<()>();
        let work = async {
            pending::<()>().await;
            drop(dropped);
        };
        let mut one = Box::pin(underway.unless_abandoned(caller(1), work, || false));
        let mut other = Box::pin(underway.unless_abandoned(caller(2), pending::<()>(), || false));
        assert!((&mut one).now_or_never().is_none() && (&mut other).now_or_never().is_none());
        underway.abandon(&caller(3));
        assert!((&mut one).now_or_never().is_none());
        underway.abandon(&caller(1));
        assert_eq!((&mut one).now_or_never(), Some(None));
        drop(one);
        assert!(is_dropped.try_recv().is_err());
        assert!((&mut other).now_or_never().is_none());
        drop(other);
        assert!(underway.lock().is_empty());
    }

    #[tokio::test]
    async fn both_deliveries_of_a_call_are_stopped() {
        let underway = Cancellations::default();
        let mut both = [(); 2]
            .map(|()| Box::pin(underway.unless_abandoned(caller(1), pending::<()>(), || false)));
        both.iter_mut().for_each(|one| assert!(one.now_or_never().is_none()));
        underway.abandon(&caller(1));
        both.iter_mut().for_each(|one| assert_eq!(one.now_or_never(), Some(None)));
    }

    #[tokio::test]
    async fn one_of_two_that_is_done_leaves_the_other_its_place() {
        let underway = Cancellations::default();
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut one = Box::pin(underway.unless_abandoned(caller(1), told, || false));
        let mut other = Box::pin(underway.unless_abandoned(caller(1), pending::<()>(), || false));
        assert!((&mut one).now_or_never().is_none() && (&mut other).now_or_never().is_none());
        tell.send(()).unwrap();
        assert_eq!((&mut one).now_or_never(), Some(Some(Ok(()))));
        drop(one);
        underway.abandon(&caller(1));
        assert_eq!((&mut other).now_or_never(), Some(None));
    }

    #[tokio::test]
    async fn what_was_abandoned_before_it_came_is_not_begun() {
        let underway = Cancellations::default();
        for number in 0..=MISSED_MAX as u64 {
            underway.abandon(&caller(number));
            underway.abandon(&caller(number));
        }
        let begun = |number| underway.unless_abandoned(caller(number), ready(5), || false);
        assert_eq!(begun(1).await, None);
        assert_eq!(begun(0).await, Some(5), "the oldest is forgotten");
        assert_eq!(begun(5000).await, Some(5));
    }

    #[tokio::test]
    async fn what_is_done_at_once_has_no_place() {
        let underway = Cancellations::default();
        assert_eq!(underway.unless_abandoned(caller(1), ready(5), || false).await, Some(5));
        assert!(underway.lock().is_empty());
    }
}
