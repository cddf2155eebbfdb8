//! Tasks of a program that live as long as its component.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use super::lifecycle::ComponentLifecycle;
use crate::exit::{BoxError, Exit};

/// The tasks. Their number is bounded by the program, which spawns them.
///
/// A task that ends stays in the set until the next one is spawned. Dropping the set aborts the
/// tasks that are left.
pub(super) struct Tasks {
    lifecycle: Arc<ComponentLifecycle>,
    running: Mutex<JoinSet<()>>,
}

impl Tasks {
    /// Creates an empty set.
    pub(super) fn new(lifecycle: Arc<ComponentLifecycle>) -> Self {
        Self { lifecycle, running: Mutex::default() }
    }

    /// Spawns a task whose error, or panic, ends the component.
    pub(super) fn spawn(
        &self,
        name: String,
        task: impl Future<Output = Result<(), BoxError>> + Send + 'static,
    ) {
        let lifecycle = self.lifecycle.clone();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(async move {
            // A panic is reported by the guard, since the task does not return then.
            let mut guard = FailOnDrop { lifecycle, name, is_armed: true };
            let ended = task.await;
            guard.is_armed = false;
            if let Err(error) = ended {
                guard.fail(Arc::from(error));
            }
        });
    }

    /// Drops all tasks.
    pub(super) fn abort(&self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// Ends the component when the task panics.
struct FailOnDrop {
    lifecycle: Arc<ComponentLifecycle>,
    name: String,
    /// Set until the task has returned.
    is_armed: bool,
}

impl FailOnDrop {
    /// Requests the end of the component with [`Exit::Failed`]. The first failure decides.
    fn fail(&self, error: Arc<dyn std::error::Error + Send + Sync>) {
        self.lifecycle.request_stop(Some(Exit::Failed { name: self.name.clone(), error }));
    }
}

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        if self.is_armed && std::thread::panicking() {
            self.fail(Arc::from(BoxError::from("the task panicked")));
        }
    }
}
