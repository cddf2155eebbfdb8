//! The side of one handle's health that a backend writes: it consumes, is refused, or has ended.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::connection_state::ConnectionState;
use super::endpoint_health::{EndpointHealth, EndpointRole, EndpointState};
use super::endpoint_probe::EndpointProbe;
use super::registry::Registry;
use crate::error::Error;
use crate::message::Address;

/// Reporter of the health of one endpoint handle, which its receiving half keeps. Clones report for
/// the same handle.
///
/// The backend reports whether the handle consumes, counts what it receives, and
/// [ends](Self::end) the handle when its stream is stopped or dropped. Core reports drains; for
/// this, [`Inbound::health`](crate::transport::Inbound::health) returns the reporter.
#[derive(Clone)]
pub struct EndpointReporter(Arc<Entry>);

/// Entry of a handle in the registry.
struct Entry {
    registry: Arc<Registry>,
    id: u64,
    received: Arc<AtomicU64>,
}

impl EndpointReporter {
    /// Registers a handle.
    pub(super) fn register(
        registry: Arc<Registry>,
        (id, role, name): (u64, EndpointRole, Address),
        probe: Option<Arc<dyn EndpointProbe>>,
    ) -> Self {
        let received = Arc::<AtomicU64>::default();
        registry.add(EndpointHealth::new(id, role, name, received.clone()), probe);
        Self(Arc::new(Entry { registry, id, received }))
    }

    /// Reports that the handle consumes, or that it is interrupted. Has no effect on a handle that
    /// drains or has ended.
    pub fn set_consuming(&self, is_consuming: bool) {
        self.change(|endpoint| {
            let state =
                if is_consuming { EndpointState::Consuming } else { EndpointState::Interrupted };
            let is_same = endpoint.state.as_str() == state.as_str();
            endpoint.set_live(state) && !is_same
        });
    }

    /// Reports that the broker refuses to let the handle consume, and that the backend tries again.
    /// Has no effect on a handle that drains or has ended.
    pub fn refuse(&self, error: Error) {
        self.change(|endpoint| endpoint.set_live(EndpointState::Refused { error }));
    }

    /// Counts a delivery that the handle has received.
    pub fn count_received(&self) {
        self.0.received.fetch_add(1, Ordering::Relaxed);
    }

    /// Reports that nothing can be received any more. The entry of a handle that is served stays.
    pub fn fail(&self, error: Error) {
        self.change(|endpoint| endpoint.set_live(EndpointState::Failed { error }));
    }

    /// Reports that the stream of the handle was stopped or dropped. A drain ends when the handlers
    /// have ended.
    pub fn end(&self) {
        let mut drains = false;
        self.change(|endpoint| {
            drains = matches!(endpoint.state, EndpointState::Draining);
            false
        });
        if !drains {
            self.0.registry.end(self.0.id);
        }
    }

    /// Returns whether the transport's connection is refused.
    pub(crate) fn is_connection_refused(&self) -> bool {
        matches!(self.0.registry.connection(), ConnectionState::Refused { .. })
    }

    /// Reports that core runs a server, a worker or a listener over the handle, whose end is a
    /// change of its health.
    pub(crate) fn begin_serving(&self) {
        self.change(|endpoint| {
            endpoint.is_served = true;
            false
        });
    }

    /// Reports that a drain was requested.
    pub(crate) fn begin_drain(&self) {
        self.change(|endpoint| endpoint.set_live(EndpointState::Draining));
    }

    /// Reports that the server, the worker or the listener has ended.
    pub(crate) fn finish(&self) {
        self.0.registry.end(self.0.id);
    }

    fn change(&self, change: impl FnOnce(&mut EndpointHealth) -> bool) {
        self.0.registry.change(self.0.id, change);
    }
}

/// Ends the handle, if the backend did not.
impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.end(self.id);
    }
}

impl fmt::Debug for EndpointReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EndpointReporter").field(&self.0.id).finish()
    }
}
