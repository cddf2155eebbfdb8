//! The times that a handler records, for a case that runs in the same process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use polywire_core::{Context, Deadline};
use tokio::time::Instant;

/// The times that the latest handler of a server recorded. Clones share them.
#[derive(Clone, Default)]
pub(super) struct HandlerLog(Arc<Mutex<HandlerTimes>>);

/// The times of a handler.
#[derive(Default)]
pub(super) struct HandlerTimes {
    /// The deadline of its caller.
    ///
    /// `None` until a handler begins.
    pub(super) deadline: Option<Instant>,
    /// The time at which it ended or was dropped.
    ///
    /// `None` while the handler runs.
    pub(super) stopped: Option<Instant>,
}

impl HandlerLog {
    /// Records that a handler begins. Dropping the guard records that it stops.
    pub(super) fn begin(&self, context: &Context) -> HandlerGuard {
        self.lock().deadline = context.deadline.map(Deadline::instant);
        HandlerGuard(self.clone())
    }

    /// Returns true once a handler has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.lock().deadline.is_some()
    }

    /// Returns true once a handler has stopped.
    pub(super) fn has_stopped(&self) -> bool {
        self.lock().stopped.is_some()
    }

    /// Removes and returns the recorded times.
    pub(super) fn take(&self) -> HandlerTimes {
        std::mem::take(&mut self.lock())
    }

    /// Locks the times. No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, HandlerTimes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handler that runs.
pub(super) struct HandlerGuard(HandlerLog);

impl Drop for HandlerGuard {
    fn drop(&mut self) {
        self.0.lock().stopped = Some(Instant::now());
    }
}
