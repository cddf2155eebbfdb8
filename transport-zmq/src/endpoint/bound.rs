//! The endpoints that the sockets of a transport have bound.

use std::sync::{Arc, Mutex};

use super::set::EndpointChange;
use super::side::Side;
use crate::error::lock;

/// The endpoints that the sockets of a transport have bound, with their real ports.
///
/// Clones share one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct BoundEndpoints(Arc<Mutex<Vec<String>>>);

impl BoundEndpoints {
    /// Returns the endpoints in the order in which they were bound.
    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.0).clone()
    }

    /// Removes one entry of this endpoint, if there is one.
    fn remove(&self, endpoint: &str) {
        let mut all = lock(&self.0);
        if let Some(at) = all.iter().position(|other| other == endpoint) {
            all.remove(at);
        }
    }
}

/// The bound endpoints of one socket. Dropping the guard removes them from the list of the
/// transport.
#[derive(Debug)]
pub(crate) struct BindGuard {
    bound: BoundEndpoints,
    own: Mutex<Vec<String>>,
}

impl BindGuard {
    /// Creates a guard of a socket that has bound nothing yet.
    pub(crate) fn new(bound: &BoundEndpoints) -> Self {
        Self { bound: bound.clone(), own: Mutex::default() }
    }

    /// Adds endpoints that the socket has bound.
    pub(crate) fn add(&self, endpoints: Vec<String>) {
        lock(&self.bound.0).extend_from_slice(&endpoints);
        lock(&self.own).extend(endpoints);
    }

    /// Records the result of a change: `real` is the endpoint that was bound or unbound.
    pub(crate) fn note(&self, change: &EndpointChange, real: Option<&String>) {
        match (change.side, change.adds, real) {
            (Side::Bind, true, Some(real)) => self.add(vec![real.clone()]),
            (Side::Bind, false, Some(real)) => {
                lock(&self.own).retain(|other| other != real);
                self.bound.remove(real);
            }
            _ => {}
        }
    }

    /// Removes all endpoints of the socket, which is stopped or closed.
    pub(crate) fn clear(&self) {
        for endpoint in std::mem::take(&mut *lock(&self.own)) {
            self.bound.remove(&endpoint);
        }
    }
}

impl Drop for BindGuard {
    fn drop(&mut self) {
        self.clear();
    }
}
