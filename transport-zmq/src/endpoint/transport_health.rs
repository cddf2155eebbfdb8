//! Health of a transport: the state of its connection, derived from its sockets.
//!
//! The sockets decide between three states: connected, refused and connecting. Once the transport
//! is reported as closed, its state does not change any more.
//!
//! A socket decides the state of its endpoint handles, too. A handle consumes while its socket has
//! bound an endpoint or has a peer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use polywire_core::health::{
    ConnectionState, EndpointProbe, EndpointReporter, EndpointRole, HealthReporter,
};
use polywire_core::{Address, Error};

use crate::lock::lock;

/// Health of a transport. Clones share it.
///
/// The sockets of one endpoint handle are a *group*, such as a client with a socket per server. The
/// transport is refused while peers refuse a group that has no other peer. Otherwise, it is
/// connected while any socket has bound an endpoint or has a peer.
#[derive(Clone)]
pub(crate) struct TransportHealth(Arc<State>);

struct State {
    /// The reporter that core reads the health from.
    reporter: HealthReporter,
    /// The sockets. Locked while a change is reported, too.
    sockets: Mutex<Sockets>,
}

#[derive(Default)]
struct Sockets {
    /// The last number that was given, to a socket or a group. Numbers are not used twice.
    last: u64,
    /// The state of each socket, until its [`SocketPresence`] is closed or dropped.
    states: BTreeMap<u64, SocketState>,
}

/// State of one socket.
#[derive(Default)]
struct SocketState {
    /// The number of the group.
    group: u64,
    /// Set while the socket has bound an endpoint.
    is_bound: bool,
    /// Set while a peer is connected.
    has_peer: bool,
    /// The refusal of a peer, while one refuses.
    refusal: Option<Error>,
    /// The endpoint handles that receive through the socket.
    handles: Vec<Weak<EndpointReporter>>,
}

/// State of one socket within the health of its transport. Dropping the value removes the socket.
///
/// Owned by the handle of the socket, or by the connection to one peer.
pub(crate) struct SocketPresence {
    health: TransportHealth,
    number: u64,
}

impl TransportHealth {
    /// Returns the reporter of the transport's health.
    pub(crate) fn reporter(&self) -> &HealthReporter {
        &self.0.reporter
    }

    /// Adds a group of sockets, and returns its number.
    pub(crate) fn add_group(&self) -> u64 {
        let mut sockets = lock(&self.0.sockets);
        sockets.last += 1;
        sockets.last
    }

    /// Adds a socket that has neither an endpoint nor a peer, in a group of its own.
    ///
    /// The state of the transport is not reported anew: such a socket does not change it.
    pub(crate) fn add_socket(&self) -> SocketPresence {
        self.add_socket_in(self.add_group())
    }

    /// Adds a socket of a group, as [`add_socket`](Self::add_socket) does.
    pub(crate) fn add_socket_in(&self, group: u64) -> SocketPresence {
        let mut sockets = lock(&self.0.sockets);
        sockets.last += 1;
        let number = sockets.last;
        sockets.states.insert(number, SocketState { group, ..SocketState::default() });
        SocketPresence { health: self.clone(), number }
    }

    /// Changes the sockets, and reports the state that they make up.
    ///
    /// `change` runs under the lock, so it must not use the health.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<u64, SocketState>)) {
        let mut sockets = lock(&self.0.sockets);
        change(&mut sockets.states);
        // Under the lock, so that the last change is reported last.
        self.0.reporter.set_connection(connection_state(&sockets.states));
    }
}

impl Default for TransportHealth {
    fn default() -> Self {
        let reporter = HealthReporter::new(ConnectionState::Connecting { error: None });
        Self(Arc::new(State { reporter, sockets: Mutex::default() }))
    }
}

impl fmt::Debug for TransportHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportHealth")
    }
}

impl SocketPresence {
    /// Records whether the socket has bound an endpoint.
    pub(crate) fn set_bound(&self, is_bound: bool) {
        self.change(|state| state.is_bound = is_bound);
    }

    /// Records whether the socket has a peer.
    pub(crate) fn set_has_peer(&self, has_peer: bool) {
        self.change(|state| state.has_peer = has_peer);
    }

    /// Records that a peer refuses the connection, or that none does any more.
    pub(crate) fn set_refusal(&self, refusal: Option<Error>) {
        self.change(|state| state.refusal = refusal);
    }

    /// Registers an endpoint handle that receives through the socket. The socket reports the state
    /// of the handle until the returned reporter is dropped.
    pub(crate) fn add_handle(
        &self,
        role: EndpointRole,
        name: &Address,
        probe: Arc<dyn EndpointProbe>,
    ) -> Arc<EndpointReporter> {
        let handle = Arc::new(self.health.reporter().endpoint(role, name, Some(probe)));
        self.change(|state| {
            state.handles.retain(|handle| handle.strong_count() > 0);
            state.handles.push(Arc::downgrade(&handle));
        });
        handle
    }

    /// Removes the socket, which is stopped or closed. Later changes have no effect.
    pub(crate) fn close(&self) {
        self.health.change(|states| drop(states.remove(&self.number)));
    }

    fn change(&self, change: impl FnOnce(&mut SocketState)) {
        self.health.change(|states| {
            if let Some(state) = states.get_mut(&self.number) {
                change(state);
                state.report_handles();
            }
        });
    }
}

impl Drop for SocketPresence {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for SocketPresence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SocketPresence").field(&self.number).finish()
    }
}

impl SocketState {
    /// Returns whether the socket can receive: peers may connect to it, or one is connected.
    fn is_connected(&self) -> bool {
        self.is_bound || self.has_peer
    }

    /// Returns whether the socket only connects, and has a peer. Peers of a bound socket may be
    /// there, or not, in each state of its own connections.
    fn is_dialed(&self) -> bool {
        self.has_peer && !self.is_bound
    }

    /// Reports the state of the endpoint handles.
    fn report_handles(&self) {
        for handle in self.handles.iter().filter_map(Weak::upgrade) {
            match &self.refusal {
                Some(error) if !self.is_connected() => handle.refuse(error.clone()),
                _ => handle.set_consuming(self.is_connected()),
            }
        }
    }
}

/// Returns the state that the sockets make up.
///
/// The oldest socket with a refusal decides, unless a socket of its group has a peer: a client that
/// one of its servers refuses still has the others. No other group hides the refusal. Without one,
/// one socket that is bound or has a peer is enough for `Connected`.
fn connection_state(states: &BTreeMap<u64, SocketState>) -> ConnectionState {
    let has_peer = |group| states.values().any(|state| state.group == group && state.is_dialed());
    let mut refused = states.values().filter(|state| state.refusal.is_some());
    let alone = refused.find(|state| !has_peer(state.group));
    if let Some(error) = alone.and_then(|state| state.refusal.clone()) {
        return ConnectionState::Refused { error };
    }
    match states.values().any(SocketState::is_connected) {
        true => ConnectionState::Connected,
        false => ConnectionState::Connecting { error: None },
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::ErrorKind;

    use super::*;

    #[test]
    fn one_bound_or_connected_socket_is_enough() {
        let health = TransportHealth::default();
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
        calling.set_has_peer(true);
        calling.close();
        assert_eq!(state(), "connecting");
        calling.set_has_peer(true);
        assert_eq!(state(), "connecting", "a closed socket came back");
    }

    #[test]
    fn no_other_group_hides_a_refusal() {
        let health = TransportHealth::default();
        let reader = health.reporter().reader();
        let state = || reader.current().connection.to_string();
        let refused = || Some(Error::new(ErrorKind::Denied, "wrong key"));
        let (bound, calling) = (health.add_socket(), health.add_socket());
        bound.set_bound(true);
        calling.set_refusal(refused());
        assert_eq!(state(), "refused: wrong key");
        calling.set_refusal(None);
        assert_eq!(state(), "connected");
        calling.set_refusal(refused());
        drop(calling);
        assert_eq!(state(), "connected");
    }

    #[test]
    fn refusal_of_one_server_leaves_a_client_with_another_one_connected() {
        let health = TransportHealth::default();
        let reader = health.reporter().reader();
        let state = || reader.current().connection.to_string();
        let client = health.add_group();
        let [refused, accepted] = [(); 2].map(|()| health.add_socket_in(client));
        refused.set_refusal(Some(Error::new(ErrorKind::Denied, "wrong key")));
        assert_eq!(state(), "refused: wrong key");
        accepted.set_has_peer(true);
        assert_eq!(state(), "connected");
        accepted.set_has_peer(false);
        assert_eq!(state(), "refused: wrong key");
    }
}
