//! The lifecycle of a server, a worker or a listener: serving, draining, stopped.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

tokio::task_local! {
    /// The handle whose handler runs, by the number of its state.
    static HANDLER_OF: usize;
}

/// The state of an endpoint handle that processes deliveries. Clones share the state.
#[derive(Clone)]
pub(crate) struct Lifecycle(Arc<watch::Sender<Phase>>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
    Stopped,
}

impl Lifecycle {
    /// Creates the state of a handle that serves.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Serving)))
    }

    /// Requests a drain, unless the handle drains or has stopped already.
    pub(crate) fn begin_drain(&self) {
        self.0.send_if_modified(|phase| {
            let serving = *phase == Phase::Serving;
            if serving {
                *phase = Phase::Draining;
            }
            serving
        });
    }

    /// Runs `handling` as a handler of this handle.
    pub(super) fn within_handler<F: Future>(
        &self,
        handling: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        HANDLER_OF.scope(self.number(), handling)
    }

    /// Returns a number that no other state has while this one exists.
    fn number(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Requests a drain, and waits until the handle has stopped. Does not wait in a handler of the
    /// same handle, for which the drain waits.
    ///
    /// Dropping the future does not stop the drain.
    pub(crate) async fn drain(&self) {
        self.begin_drain();
        if HANDLER_OF.try_with(|number| *number == self.number()).unwrap_or(false) {
            return;
        }
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|phase| *phase == Phase::Stopped).await;
    }

    /// Waits until a drain is requested.
    pub(super) async fn drain_requested(&self) {
        drop(self.0.subscribe().wait_for(|phase| *phase != Phase::Serving).await);
    }
}

/// A guard that marks the handle as stopped when it is dropped, even if the handle never ran.
pub(crate) struct StopGuard(Lifecycle);

impl StopGuard {
    /// Creates the guard of a handle.
    pub(crate) fn new(lifecycle: &Lifecycle) -> Self {
        Self(lifecycle.clone())
    }

    /// Returns the state of the handle.
    pub(super) fn lifecycle(&self) -> &Lifecycle {
        &self.0
    }
}

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.0.send_replace(Phase::Stopped);
    }
}
