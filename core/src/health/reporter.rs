//! The side of health that a backend writes: the state of its connection, and its handles.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::connection_state::ConnectionState;
use super::endpoint_health::EndpointRole;
use super::endpoint_probe::EndpointProbe;
use super::endpoint_reporter::EndpointReporter;
use super::reader::HealthReader;
use super::registry::Registry;
use crate::message::Address;

/// Reporter of a transport's health, which the backend keeps. Clones report for the same transport.
///
/// ```
/// use polywire_core::health::{ConnectionState, EndpointRole, HealthReporter};
/// use polywire_core::{Address, Error, ErrorKind};
///
/// let reporter = HealthReporter::new(ConnectionState::Connecting { error: None });
/// let reader = reporter.reader(); // returned by the backend's `Transport::health`
///
/// reporter.set_connection(ConnectionState::Connected);
/// let name = Address::new("calculator")?;
/// let endpoint = reporter.endpoint(EndpointRole::Responder, &name, None);
/// assert_eq!(reader.current().to_string(), "connected, consuming 0 of 1");
/// endpoint.set_consuming(true);
/// assert!(reader.current().is_ready());
///
/// let error = Error::new(ErrorKind::Denied, "the broker refused the password");
/// reporter.set_connection(ConnectionState::Refused { error });
/// assert!(!reader.current().is_ready());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct HealthReporter {
    registry: Arc<Registry>,
    last_id: Arc<AtomicU64>,
}

impl HealthReporter {
    /// Creates the reporter of a transport whose connection is in this state.
    #[must_use]
    pub fn new(connection: ConnectionState) -> Self {
        Self { registry: Arc::new(Registry::new(connection)), last_id: Arc::default() }
    }

    /// Reports a change of the connection. The state of a closed transport does not change.
    pub fn set_connection(&self, connection: ConnectionState) {
        self.registry.set_connection(connection);
    }

    /// Registers an endpoint handle that receives work and does not consume yet. Its canaries go by
    /// way of `probe`.
    #[must_use]
    pub fn endpoint(
        &self,
        role: EndpointRole,
        name: &Address,
        probe: Option<Arc<dyn EndpointProbe>>,
    ) -> EndpointReporter {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        EndpointReporter::register(self.registry.clone(), (id, role, name.clone()), probe)
    }

    /// Returns a reader of this health.
    #[must_use]
    pub fn reader(&self) -> HealthReader {
        let registry = Arc::downgrade(&self.registry);
        HealthReader::new(self.registry.watch(), registry)
    }
}

impl fmt::Debug for HealthReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HealthReporter")
    }
}
