//! Endpoints whose peers refuse a socket: one log line for each, and their part of the health.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use polywire_core::{Error, ErrorKind};

use super::transport_health::SocketPresence;
use crate::lock::lock;

/// The refusals at the endpoints that one socket connects to. Clones share them.
///
/// A refusal lasts until one of the two sides is configured anew, as with a wrong password. The
/// engine tries again meanwhile. The first refusal of an endpoint is logged as an error. Later ones
/// are not, until the peer has accepted a connection, which is logged, too.
///
/// An endpoint that was not added, or is removed, has no refusals.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefusingPeers(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    endpoints: BTreeMap<String, Standing>,
    /// The socket within the health of its transport, once it is known.
    presence: Weak<SocketPresence>,
}

/// Standing of a socket with the peer at one endpoint.
#[derive(Debug, Default)]
struct Standing {
    /// The reason of the refusal, while the peer refuses.
    reason: Option<String>,
    /// Set from the first refusal until the peer accepts a connection.
    is_logged: bool,
}

#[cfg_attr(
    not(any(feature = "engine-omq", feature = "engine-zeromq")),
    allow(dead_code, reason = "the engines record refusals")
)]
impl RefusingPeers {
    /// Reports the refusals to the health of a transport, now and after each change.
    pub(crate) fn report_to(&self, presence: &Arc<SocketPresence>) {
        let mut state = lock(&self.0);
        state.presence = Arc::downgrade(presence);
        state.report();
    }

    /// Adds an endpoint that the socket begins to connect to.
    pub(crate) fn add(&self, endpoint: &str) {
        lock(&self.0).endpoints.entry(endpoint.to_owned()).or_default();
    }

    /// Removes an endpoint that the socket does not connect to any more.
    pub(crate) fn remove(&self, endpoint: &str) {
        let mut state = lock(&self.0);
        if state.endpoints.remove(endpoint).is_some() {
            state.report();
        }
    }

    /// Removes all endpoints.
    pub(crate) fn clear(&self) {
        let mut state = lock(&self.0);
        state.endpoints.clear();
        state.report();
    }

    /// Records that the peer at an endpoint refuses the connection.
    pub(crate) fn refuse(&self, endpoint: &str, reason: &str) {
        let mut state = lock(&self.0);
        let Some(standing) = state.endpoints.get_mut(endpoint) else { return };
        if standing.reason.as_deref() == Some(reason) {
            return;
        }
        standing.reason = Some(reason.to_owned());
        let is_logged = std::mem::replace(&mut standing.is_logged, true);
        state.report();
        drop(state);
        if !is_logged {
            tracing::error!(endpoint, reason, "the peer refuses the connection; retrying");
        }
    }

    /// Records that an attempt to connect has failed for another cause: there is no peer, or one
    /// that does not refuse.
    pub(crate) fn withdraw(&self, endpoint: &str) {
        let mut state = lock(&self.0);
        let reason = state.endpoints.get_mut(endpoint).and_then(|standing| standing.reason.take());
        if reason.is_some() {
            state.report();
        }
    }

    /// Records that the peer at an endpoint has accepted a connection.
    pub(crate) fn accept(&self, endpoint: &str) {
        let mut state = lock(&self.0);
        let Some(standing) = state.endpoints.get_mut(endpoint) else { return };
        if !standing.is_logged {
            return;
        }
        *standing = Standing::default();
        state.report();
        drop(state);
        tracing::info!(endpoint, "the peer accepts the connection again");
    }
}

impl State {
    /// Reports the refusal of the first endpoint that has one, or that there is none.
    fn report(&self) {
        let Some(presence) = self.presence.upgrade() else { return };
        let refused = self.endpoints.iter().find_map(|(endpoint, standing)| {
            standing.reason.as_ref().map(|reason| (endpoint, reason))
        });
        presence.set_refusal(refused.map(|(endpoint, reason)| {
            let error = Error::new(ErrorKind::Denied, "the peer refuses the connection");
            error.with("endpoint", endpoint).with_source(reason.clone())
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::transport_health::TransportHealth;
    use super::*;

    #[test]
    fn refusal_shows_until_the_peer_accepts_or_an_attempt_fails_otherwise_or_it_is_removed() {
        let health = TransportHealth::default();
        let reader = health.reporter().reader();
        let state = || reader.current().connection.to_string();
        let (presence, refusals) = (Arc::new(health.add_socket()), RefusingPeers::default());
        refusals.refuse("a", "unknown");
        refusals.add("a");
        refusals.add("b");
        refusals.refuse("b", "wrong key");
        refusals.report_to(&presence);
        assert_eq!(state(), "refused: the peer refuses the connection (endpoint: b): wrong key");
        refusals.refuse("a", "wrong key");
        refusals.accept("b");
        assert!(state().contains("endpoint: a"), "{}", state());
        refusals.withdraw("a");
        assert_eq!(state(), "connecting");
        refusals.refuse("a", "wrong key");
        refusals.refuse("a", "other mechanism");
        assert!(state().ends_with("(endpoint: a): other mechanism"), "{}", state());
        refusals.remove("a");
        assert_eq!(state(), "connecting");
    }
}
