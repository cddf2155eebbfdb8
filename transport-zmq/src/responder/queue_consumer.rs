//! Consumers of the queue of a service. No I/O and no tasks: state and wakers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use super::abandoned_calls::AbandonedCalls;

/// A consumer of the queue, one for each responder.
///
/// A stopped consumer stays until its responder is dropped: while it is the last one, it takes
/// requests in order to refuse them.
pub(super) struct Consumer {
    /// Requests that are queued for this consumer.
    pub(super) window: usize,
    /// Set when the responder takes no more requests.
    pub(super) stopped: bool,
    /// Abandoned calls that are not reported yet. This consumer or another one has taken them.
    pub(super) abandoned: AbandonedCalls,
    /// The task of the responder, if it waits.
    waker: Option<Waker>,
    /// The part that the receiver of the responder reads without the lock of the queue.
    is_idle: Arc<IdleFlag>,
}

/// A flag that is set while a queue has nothing for a consumer, neither a request nor an abandoned
/// call, and wakes the consumer with the next change.
///
/// While it is set, the queue need not be locked.
#[derive(Default)]
pub(super) struct IdleFlag(AtomicBool);

impl IdleFlag {
    /// Returns whether the flag is set.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self, is_idle: bool) {
        self.0.store(is_idle, Ordering::Release);
    }
}

impl Consumer {
    /// Creates a consumer with this window.
    pub(super) fn new(window: usize) -> Self {
        let (abandoned, is_idle) = (AbandonedCalls::default(), Arc::default());
        Self { window, stopped: false, abandoned, waker: None, is_idle }
    }

    /// Returns the flag that shows whether the queue has nothing for the consumer.
    pub(super) fn is_idle(&self) -> Arc<IdleFlag> {
        self.is_idle.clone()
    }

    /// Registers the waker, unless the same one is registered already.
    pub(super) fn register(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            // The task before is not woken any more.
            self.is_idle.set(false);
            self.waker = Some(cx.waker().clone());
        }
    }

    /// Records, after [`register`](Self::register), whether the queue has no request. Each later
    /// change [wakes](Self::wake) the consumer, under the same lock.
    pub(super) fn set_idle(&self, has_no_request: bool) {
        self.is_idle.set(has_no_request && self.abandoned.is_empty());
    }

    /// Wakes the task of the responder, if it waits, to look at the queue again.
    pub(super) fn wake(&mut self) {
        self.is_idle.set(false);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
