//! Handles of servers.

use std::fmt;
use std::sync::Arc;

use super::server_stats::{ServerCounters, ServerStats};
use crate::health::EndpointReporter;
use crate::worker::Lifecycle;

/// A handle to drain a [`Server`](crate::Server) and to read its counters. Clones are handles of
/// the same server.
#[derive(Clone)]
pub struct ServerHandle {
    lifecycle: Lifecycle,
    counters: Arc<ServerCounters>,
}

impl ServerHandle {
    /// Creates the handle of a new server.
    pub(super) fn new(health: Option<EndpointReporter>) -> Self {
        Self { lifecycle: Lifecycle::new(health), counters: Arc::default() }
    }

    /// Returns the state of the server.
    pub(super) fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Returns the counters of the server.
    pub(super) fn counters(&self) -> &Arc<ServerCounters> {
        &self.counters
    }

    /// Stops receiving requests, and waits until all running handlers have ended.
    ///
    /// Queued requests are requeued for other servers. Where the transport cannot requeue, they
    /// are refused with [`Code::Unavailable`](crate::Code::Unavailable). A second call waits for
    /// the same end.
    ///
    /// In a handler of the same server, the method requests the drain and returns at once, since
    /// the drain waits for that handler. A task that the handler spawns and awaits would wait for
    /// itself.
    ///
    /// Dropping the future does not stop the drain. For a grace period, put a timeout around the
    /// future, and drop the [`Serving`](crate::worker::Serving) afterwards.
    pub async fn drain(&self) {
        self.lifecycle.drain().await;
    }

    /// Returns the counters of the server.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        self.counters.stats()
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
