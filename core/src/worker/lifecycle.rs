//! The lifecycle of a server, a worker or a listener: serving, draining, stopped.

use std::sync::Arc;

use tokio::sync::watch;

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

    /// Requests a drain, and waits until the handle has stopped.
    ///
    /// Dropping the future does not stop the drain.
    pub(crate) async fn drain(&self) {
        self.begin_drain();
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
