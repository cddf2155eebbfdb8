//! The state of the connection of a transport, derived from its sockets.
//!
//! The sockets decide between three states: connected, refused and connecting. Once the transport
//! is reported as closed, its state does not change any more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use polywire_core::Error;
use polywire_core::health::{ConnectionState, HealthReporter};

use crate::error::lock;

/// Health of a transport. Clones share it.
///
/// The transport is connected while any of its sockets has bound an endpoint or has a peer.
#[derive(Clone)]
pub(crate) struct SocketHealth(Arc<State>);

struct State {
    /// The reporter that core reads the health from.
    reporter: HealthReporter,
    /// The sockets. Locked while a change is reported, too.
    sockets: Mutex<Sockets>,
}

#[derive(Default)]
struct Sockets {
    /// The last number that was given. Numbers are not used twice.
    last: u64,
    /// The state of each socket, until its [`SocketPresence`] is dropped.
    states: BTreeMap<u64, SocketState>,
}

/// State of one socket.
#[derive(Default)]
struct SocketState {
    /// Set while the socket has bound an endpoint.
    is_bound: bool,
    /// Set while a peer is connected.
    has_peer: bool,
    /// The refusal of the peer, while it refuses.
    refusal: Option<Error>,
}

/// State of one socket within the health of its transport. Dropping the value removes the socket.
///
/// Owned by the handle of the socket, or by the connection to one peer.
pub(crate) struct SocketPresence {
    health: SocketHealth,
    number: u64,
}

impl SocketHealth {
    /// Returns the reporter of the transport's health.
    pub(crate) fn reporter(&self) -> &HealthReporter {
        &self.0.reporter
    }

    /// Adds a socket that has neither an endpoint nor a peer.
    ///
    /// The state of the transport is not reported anew: such a socket does not change it.
    pub(crate) fn add_socket(&self) -> SocketPresence {
        let mut sockets = lock(&self.0.sockets);
        sockets.last += 1;
        let number = sockets.last;
        sockets.states.insert(number, SocketState::default());
        SocketPresence { health: self.clone(), number }
    }

    /// Changes the sockets, and reports the state that they make up.
    ///
    /// `change` runs under the lock, so it must not use the health.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<u64, SocketState>)) {
        let mut sockets = lock(&self.0.sockets);
        change(&mut sockets.states);
        // Under the lock, so that the last change is reported last.
        self.0.reporter.set_connection(connection_state(sockets.states.values()));
    }
}

impl Default for SocketHealth {
    fn default() -> Self {
        let reporter = HealthReporter::new(ConnectionState::Connecting { error: None });
        Self(Arc::new(State { reporter, sockets: Mutex::default() }))
    }
}

impl fmt::Debug for SocketHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SocketHealth")
    }
}

impl SocketPresence {
    /// Records whether the socket has bound an endpoint.
    pub(crate) fn set_bound(&self, is_bound: bool) {
        self.change(|state| state.is_bound = is_bound);
    }

    /// Records whether the socket has a peer, which refuses no more if there is one.
    pub(crate) fn set_has_peer(&self, has_peer: bool) {
        self.change(|state| {
            state.has_peer = has_peer;
            if has_peer {
                state.refusal = None;
            }
        });
    }

    /// Records that the peer refuses the connection, or that it does not any more.
    pub(crate) fn set_refused(&self, refusal: Option<Error>) {
        self.change(|state| state.refusal = refusal);
    }

    fn change(&self, change: impl FnOnce(&mut SocketState)) {
        self.health.change(|states| {
            if let Some(state) = states.get_mut(&self.number) {
                change(state);
            }
        });
    }
}

impl Drop for SocketPresence {
    fn drop(&mut self) {
        self.health.change(|states| drop(states.remove(&self.number)));
    }
}

impl fmt::Debug for SocketPresence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SocketPresence").field(&self.number).finish()
    }
}

/// Returns the state that the sockets make up.
///
/// One socket that is bound or has a peer is enough for `Connected`. Otherwise the oldest socket
/// with a refusal decides.
fn connection_state<'a>(states: impl Iterator<Item = &'a SocketState>) -> ConnectionState {
    let mut refusal = None;
    for state in states {
        if state.is_bound || state.has_peer {
            return ConnectionState::Connected;
        }
        refusal = refusal.or_else(|| state.refusal.clone());
    }
    match refusal {
        Some(error) => ConnectionState::Refused { error },
        None => ConnectionState::Connecting { error: None },
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::ErrorKind;

    use super::*;

    #[test]
    fn one_bound_or_connected_socket_is_enough() {
        let health = SocketHealth::default();
        let reader = health.reporter().reader();
        let state = || reader.current().connection.to_string();
        assert_eq!(state(), "connecting");
        let (bound, calling) = (health.add_socket(), health.add_socket());
        bound.set_bound(true);
        assert_eq!(state(), "connected");
        calling.set_has_peer(true);
        drop(bound);
        assert_eq!(state(), "connected");
        calling.set_has_peer(false);
        assert_eq!(state(), "connecting");
        calling.set_refused(Some(Error::new(ErrorKind::Denied, "wrong key")));
        assert_eq!(state(), "refused: wrong key");
        calling.set_refused(None);
        assert_eq!(state(), "connecting");
        calling.set_refused(Some(Error::new(ErrorKind::Denied, "wrong key")));
        calling.set_has_peer(true);
        assert_eq!(state(), "connected");
        drop(calling);
        assert_eq!(state(), "connecting");
    }
}
