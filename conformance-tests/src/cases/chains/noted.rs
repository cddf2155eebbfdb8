//! What handlers note about themselves, for a case that runs in the same process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use polywire_core::{Context, Deadline};
use tokio::time::Instant;

/// What the latest handler of an end has noted.
#[derive(Clone, Default)]
pub(super) struct Noted(Arc<Mutex<Notes>>);

#[derive(Default)]
pub(super) struct Notes {
    /// Until when its caller waits.
    pub(super) deadline: Option<Instant>,
    /// When it ended, or was dropped.
    pub(super) stopped: Option<Instant>,
}

impl Noted {
    /// Notes that a handler begins, and that it stops, when the guard is dropped.
    pub(super) fn begin(&self, context: &Context) -> Running {
        self.lock().deadline = context.deadline.map(Deadline::instant);
        Running(self.clone())
    }

    pub(super) fn has_begun(&self) -> bool {
        self.lock().deadline.is_some()
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.lock().stopped.is_some()
    }

    /// What was noted since this was asked for the last time.
    pub(super) fn take(&self) -> Notes {
        std::mem::take(&mut self.lock())
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handler that runs.
pub(super) struct Running(Noted);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().stopped = Some(Instant::now());
    }
}
