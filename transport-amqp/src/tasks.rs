//! Background tasks of a transport.
//!
//! Each task that the transport spawns for longer than one message is in this set: consumers, the
//! reply consumer, listeners and senders of cancellations. Tasks that a type of its own owns, as a
//! supervisor, are not.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use polywire_core::Result;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::common_errors::closed;
use crate::lock::lock;

/// The background tasks of a transport, and whether the transport is closed. Dropping the set
/// aborts all of them.
///
/// A closed set stays closed. Tasks may still be in it then, until they are aborted.
#[derive(Default)]
pub(crate) struct Tasks {
    /// Handles of the tasks. Those of finished tasks are removed when another one is added.
    handles: Mutex<Vec<AbortHandle>>,
    closed: AtomicBool,
    /// Signal that `closed` was set.
    closing: Notify,
}

impl Tasks {
    /// Adds a task, to abort it when the transport closes. On a closed transport, aborts the task
    /// at once.
    pub(crate) fn add(&self, task: AbortHandle) {
        let mut handles = lock(&self.handles);
        handles.retain(|task| !task.is_finished());
        if self.is_closed() {
            return task.abort();
        }
        handles.push(task);
    }

    /// Marks the transport as closed. Returns whether it was open. The tasks run on until
    /// [`abort_all`](Self::abort_all).
    pub(crate) fn close(&self) -> bool {
        let was_open = !self.closed.swap(true, Ordering::AcqRel);
        self.closing.notify_waiters();
        was_open
    }

    /// Waits until the transport is closed. Dropping the future has no effect.
    pub(crate) async fn closed(&self) {
        let closing = self.closing.notified();
        tokio::pin!(closing);
        // Enabled before the flag is read, so that no close in between is missed.
        closing.as_mut().enable();
        if !self.is_closed() {
            closing.await;
        }
    }

    /// Returns whether [`close`](Self::close) was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Fails with [`ErrorKind::Closed`](polywire_core::ErrorKind::Closed) on a closed transport.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(closed()) } else { Ok(()) }
    }

    /// Aborts all tasks.
    pub(crate) fn abort_all(&self) {
        for task in lock(&self.handles).drain(..) {
            task.abort();
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.abort_all();
    }
}
