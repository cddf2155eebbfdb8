//! Handles of workers and listeners.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::lifecycle::Lifecycle;
use super::work_stats::{WorkCounters, WorkStats};
use crate::health::EndpointReporter;

/// A handle to drain a [`Worker`](crate::Worker) or a [`Listener`](crate::Listener), and to read
/// its counters. Clones are handles of the same worker or listener.
#[derive(Clone)]
pub struct WorkHandle {
    lifecycle: Lifecycle,
    counters: Arc<WorkCounters>,
}

impl WorkHandle {
    /// Creates the handle of a new worker or listener.
    pub(super) fn new(health: Option<EndpointReporter>) -> Self {
        Self { lifecycle: Lifecycle::new(health), counters: Arc::default() }
    }

    /// Returns the state of the worker or listener.
    pub(super) fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Returns the counters of the worker or listener.
    pub(super) fn counters(&self) -> &Arc<WorkCounters> {
        &self.counters
    }

    /// Stops receiving, and waits until all running handlers have ended.
    ///
    /// Queued deliveries are requeued for other workers. Where the transport cannot requeue,
    /// deliveries that have arrived are processed first. A second call waits for the first one to
    /// end.
    ///
    /// In a handler of the same worker or listener, the method requests the drain and returns at
    /// once, since the drain waits for that handler. A task that the handler spawns and awaits
    /// would wait for itself.
    ///
    /// Dropping the future does not stop the drain.
    pub fn drain(&self) -> impl Future<Output = ()> + Send + '_ {
        self.lifecycle.drain()
    }

    /// Returns the counters.
    #[must_use]
    pub fn stats(&self) -> WorkStats {
        self.counters.stats()
    }
}

impl fmt::Debug for WorkHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkHandle").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
