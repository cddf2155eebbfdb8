//! The calls of a bare engine that wait for their replies.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tokio::sync::oneshot;

/// The calls that wait for replies of the type `T`, by their ids.
///
/// Callers add calls and the reader completes them, under a lock that is never held across an
/// await. A call that is dropped leaves its entry until its reply arrives.
///
/// The table has no bound of its own: it holds the calls in flight, and those that were dropped.
pub(crate) struct WaitingCalls<T> {
    /// `None` once a task has ended that replies depend on.
    calls: Mutex<Option<HashMap<u64, oneshot::Sender<T>>>>,
    /// The id of the next call, counted from 0.
    last: AtomicU64,
}

impl<T: Send + 'static> WaitingCalls<T> {
    /// Creates an empty table.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { calls: Mutex::new(Some(HashMap::new())), last: AtomicU64::new(0) })
    }

    /// Spawns a task that replies depend on: a reader or a writer. All calls fail when the task
    /// returns, and so do later ones.
    ///
    /// The error of the task goes to standard error, since the calls lose their replies without a
    /// cause.
    pub(crate) fn spawn(self: &Arc<Self>, task: impl Future<Output = Result<()>> + Send + 'static) {
        let waiting = self.clone();
        tokio::spawn(async move {
            if let Err(error) = task.await {
                eprintln!("cannot go on with the calls: {error:#}");
            }
            *waiting.lock() = None;
        });
    }

    /// Adds a call. Returns its id, and the future of its reply.
    ///
    /// The caller sends the request after that, so no reply can arrive before its entry. The future
    /// fails when a task ends that the reply depends on.
    ///
    /// # Errors
    ///
    /// If a task has ended that the reply depends on.
    pub(crate) fn begin(&self) -> Result<(u64, oneshot::Receiver<T>)> {
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        let (answer, reply) = oneshot::channel();
        self.lock().as_mut().context("cannot call: the connection is lost")?.insert(id, answer);
        Ok((id, reply))
    }

    /// Hands a reply to the call of its id, if the call is known. Drops any other reply.
    ///
    /// The caller is woken after the lock is released.
    pub(crate) fn complete(&self, id: u64, reply: T) {
        let answer = self.lock().as_mut().and_then(|calls| calls.remove(&id));
        if let Some(answer) = answer {
            // The caller may have been dropped.
            let _ = answer.send(reply);
        }
    }

    /// Locks the table, also after a panic under the lock.
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<T>>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
