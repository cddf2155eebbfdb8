//! Registry of a transport's health: the state that reporters change and readers watch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::connection_state::ConnectionState;
use super::endpoint_health::{EndpointHealth, EndpointState};
use super::endpoint_probe::EndpointProbe;
use super::health::Health;

/// Current health of a transport. Each change wakes the readers.
pub(super) struct Registry {
    health: watch::Sender<Health>,
    probes: Arc<Probes>,
}

/// Probes of the endpoint handles that are not dropped, by their ids.
#[derive(Default)]
pub(super) struct Probes(Mutex<HashMap<u64, Arc<dyn EndpointProbe>>>);

impl Registry {
    /// Creates the registry of a transport in this state, without endpoint handles.
    pub(super) fn new(connection: ConnectionState) -> Self {
        let health = Health { connection, endpoints: Vec::new() };
        Self { health: watch::Sender::new(health), probes: Arc::default() }
    }

    /// Watches the health.
    pub(super) fn watch(&self) -> (watch::Receiver<Health>, Arc<Probes>) {
        (self.health.subscribe(), self.probes.clone())
    }

    /// Returns the state of the connection.
    pub(super) fn connection(&self) -> ConnectionState {
        self.health.borrow().connection.clone()
    }

    /// Changes the state of the connection. A closed transport stays closed.
    pub(super) fn set_connection(&self, connection: ConnectionState) {
        self.health.send_if_modified(|health| {
            let is_closed = matches!(health.connection, ConnectionState::Closed);
            let is_same = health.connection.is_connected() && connection.is_connected();
            if is_closed || is_same {
                return false;
            }
            health.connection = connection;
            true
        });
    }

    /// Adds an endpoint handle, in the place of ended ones with the same role and name.
    pub(super) fn add(&self, endpoint: EndpointHealth, probe: Option<Arc<dyn EndpointProbe>>) {
        if let Some(probe) = probe {
            self.probes.lock().insert(endpoint.id, probe);
        }
        self.health.send_modify(|health| {
            health.endpoints.retain(|other| {
                let is_same = other.role == endpoint.role && other.name == endpoint.name;
                !(is_same && other.state.has_ended())
            });
            health.endpoints.push(endpoint);
        });
    }

    /// Changes the entry of an endpoint handle by `change`, which returns whether it changed.
    pub(super) fn change(&self, id: u64, change: impl FnOnce(&mut EndpointHealth) -> bool) {
        let mut has_ended = false;
        self.health.send_if_modified(|health| {
            let endpoint = health.endpoints.iter_mut().find(|endpoint| endpoint.id == id);
            let Some(endpoint) = endpoint else { return false };
            let has_changed = change(endpoint);
            has_ended = endpoint.state.has_ended();
            if has_changed && has_ended {
                limit_ended(&mut health.endpoints);
            }
            has_changed
        });
        if has_ended {
            self.probes.remove(id);
        }
    }

    /// Ends an endpoint handle: the entry of a served one stays as stopped, any other is removed.
    pub(super) fn end(&self, id: u64) {
        let mut is_served = false;
        self.change(id, |endpoint| {
            is_served = endpoint.is_served;
            let ends = is_served && !endpoint.state.has_ended();
            if ends {
                endpoint.state = EndpointState::Stopped;
            }
            ends
        });
        self.probes.remove(id);
        if !is_served {
            self.retain(|endpoint| endpoint.id != id);
        }
    }

    /// Removes the entries that `keep` does not keep.
    pub(super) fn retain(&self, keep: impl Fn(&EndpointHealth) -> bool) {
        self.health.send_if_modified(|health| {
            let before = health.endpoints.len();
            health.endpoints.retain(&keep);
            health.endpoints.len() < before
        });
    }
}

impl Probes {
    /// Returns the probe of an endpoint handle.
    pub(super) fn get(&self, id: u64) -> Option<Arc<dyn EndpointProbe>> {
        self.lock().get(&id).cloned()
    }

    fn remove(&self, id: u64) {
        let removed = self.lock().remove(&id);
        // Outside of the lock: the probe may be the last owner of its transport.
        drop(removed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<dyn EndpointProbe>>> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the oldest ended entries beyond the bound.
fn limit_ended(endpoints: &mut Vec<EndpointHealth>) {
    let ended = endpoints.iter().filter(|endpoint| endpoint.state.has_ended()).count();
    let mut excess = ended.saturating_sub(ENDED_MAX);
    endpoints.retain(|endpoint| {
        let is_excess = excess > 0 && endpoint.state.has_ended();
        excess -= usize::from(is_excess);
        !is_excess
    });
}

/// The most entries of ended endpoint handles that a registry keeps.
const ENDED_MAX: usize = 64;
