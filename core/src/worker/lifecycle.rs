//! The lifecycle of a server, a worker or a listener: serving, draining, stopped.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use super::delivery_span;
use crate::health::EndpointReporter;

/// The state of an endpoint handle that processes deliveries. Clones share the state.
#[derive(Clone)]
pub(crate) struct Lifecycle {
    phase: Arc<watch::Sender<Phase>>,
    /// The health of the handle, if the backend reports it.
    health: Option<EndpointReporter>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
    Stopped,
}

impl Lifecycle {
    /// Creates the state of a handle that serves.
    pub(crate) fn new(health: Option<EndpointReporter>) -> Self {
        Self { phase: Arc::new(watch::Sender::new(Phase::Serving)), health }
    }

    /// Returns the health of the handle, if the backend reports it.
    pub(super) fn health(&self) -> Option<&EndpointReporter> {
        self.health.as_ref()
    }

    /// Requests a drain, unless the handle drains or has stopped already.
    pub(crate) fn begin_drain(&self) {
        self.phase.send_if_modified(|phase| {
            let serving = *phase == Phase::Serving;
            if serving {
                // Before the receive loop can see the phase, so that readiness is off first.
                self.health.iter().for_each(EndpointReporter::begin_drain);
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
        delivery_span::scope(self.number(), handling)
    }

    /// Returns a number that no other state has while this one exists.
    fn number(&self) -> usize {
        Arc::as_ptr(&self.phase).addr()
    }

    /// Requests a drain, and waits until the handle has stopped. Does not wait in a handler of the
    /// same handle, for which the drain waits.
    ///
    /// Dropping the future does not stop the drain.
    pub(crate) async fn drain(&self) {
        self.begin_drain();
        if delivery_span::handle() == Some(self.number()) {
            return;
        }
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|phase| *phase == Phase::Stopped).await;
    }

    /// Returns whether a drain was requested.
    pub(super) fn is_drain_requested(&self) -> bool {
        *self.phase.borrow() != Phase::Serving
    }

    /// Waits until a drain is requested.
    pub(super) async fn drain_requested(&self) {
        drop(self.phase.subscribe().wait_for(|phase| *phase != Phase::Serving).await);
    }
}

/// A guard that marks the handle as stopped when it is dropped, even if the handle never ran.
pub(crate) struct StopGuard(Lifecycle);

impl StopGuard {
    /// Creates the guard of a handle.
    pub(crate) fn new(lifecycle: &Lifecycle) -> Self {
        Self(lifecycle.clone())
    }

    /// Notes that the handle is served, so that its end is a change of its health.
    pub(crate) fn begin_serving(&self) {
        self.0.health.iter().for_each(EndpointReporter::begin_serving);
    }

    /// Returns the state of the handle.
    pub(super) fn lifecycle(&self) -> &Lifecycle {
        &self.0
    }
}

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.health.iter().for_each(EndpointReporter::finish);
        self.0.phase.send_replace(Phase::Stopped);
    }
}
