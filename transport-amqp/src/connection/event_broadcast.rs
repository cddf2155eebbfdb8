//! The broadcast of connection events, which supervisors publish and the transport subscribes to.
//!
//! The supervisor of a connection logs its changes. A refusal concerns all connections of the
//! transport, so it is logged once for all of them, as the broadcast decides. The metric
//! `polywire_reconnects_total` counts restored connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use polywire_core::health::{ConnectionState, HealthReporter};
use polywire_core::{Error, ErrorKind};
use tokio::sync::broadcast;

use crate::connection_events::{
    ConnectionChange, ConnectionEvent, ConnectionEvents, ConnectionRole,
};
use crate::lock::lock;

/// Broadcasts and counts the changes of all connections, and keeps their current state.
///
/// Clones share everything. The supervisors publish, and the transport subscribes. One lock covers
/// a change of the state, of the health and of the broadcast, so all three have the same order.
#[derive(Clone)]
pub(crate) struct ConnectionEventBroadcast {
    /// Events for all streams.
    events: broadcast::Sender<ConnectionEvent>,
    /// State by role.
    states: Arc<Mutex<Vec<(ConnectionRole, LatestChanges)>>>,
    /// Health of the transport, whose connection all of them make up.
    health: HealthReporter,
    refusals: Arc<LoggedRefusals>,
}

/// The refusals that are in the log, each for all connections of the transport.
#[derive(Default)]
struct LoggedRefusals {
    /// A refusal that is tried again. Cleared once all connections are established.
    retrying: AtomicBool,
    /// The end of all attempts.
    given_up: AtomicBool,
}

/// The changes that describe the current state of a connection.
#[derive(Default)]
struct LatestChanges {
    /// Connected, lost or refused.
    link: Option<ConnectionChange>,
    /// Set while the broker accepts no messages.
    blocked: Option<ConnectionChange>,
    /// The latest failure to reconnect. The next change of the link clears it.
    attempt: Option<Error>,
}

impl LatestChanges {
    /// Applies a change. An established or lost connection is not blocked.
    fn apply(&mut self, change: &ConnectionChange) {
        match change.clone() {
            ConnectionChange::Restored { host, port } => {
                *self = Self::linked(ConnectionChange::Connected { host, port });
            }
            ConnectionChange::Blocked(reason) => {
                self.blocked = Some(ConnectionChange::Blocked(reason));
            }
            ConnectionChange::Unblocked => self.blocked = None,
            link => *self = Self::linked(link),
        }
    }

    /// Returns the state right after a change of the link.
    fn linked(link: ConnectionChange) -> Self {
        Self { link: Some(link), ..Self::default() }
    }

    /// Returns whether the connection is established.
    fn is_established(&self) -> bool {
        matches!(self.link, Some(ConnectionChange::Connected { .. }))
    }

    /// Returns the changes that lead a new subscriber to the current state.
    fn iter(&self) -> impl Iterator<Item = ConnectionChange> {
        self.link.iter().chain(&self.blocked).cloned()
    }
}

impl ConnectionEventBroadcast {
    /// Creates a broadcast for connections in these roles, which are not established yet.
    pub(crate) fn new(roles: &[ConnectionRole]) -> Self {
        let health = HealthReporter::new(ConnectionState::Connecting { error: None });
        let states = roles.iter().map(|role| (*role, LatestChanges::default())).collect();
        let (events, states) = (broadcast::Sender::new(BUFFERED_EVENTS), Mutex::new(states));
        Self { events, states: Arc::new(states), health, refusals: Arc::default() }
    }

    /// Broadcasts a change, and logs the end of all attempts.
    ///
    /// The call never waits for a slow stream: beyond 64 unread events, the stream loses the
    /// oldest.
    pub(crate) fn publish(&self, role: ConnectionRole, change: ConnectionChange) {
        match &change {
            ConnectionChange::Restored { .. } => count_reconnect(role),
            ConnectionChange::Refused(error) if error.kind() == ErrorKind::Closed => {
                tracing::error!(%role, ?error, "the connection of the program has ended; there is no other");
            }
            ConnectionChange::Refused(error) => {
                match self.refusals.given_up.swap(true, Ordering::Relaxed) {
                    false => {
                        tracing::error!(%role, ?error, "the broker refused for too long; no more reconnects");
                    }
                    true => {
                        tracing::debug!(%role, ?error, "the broker refused for too long; no more reconnects");
                    }
                }
            }
            _ => {}
        }
        let mut states = lock(&self.states);
        if let Some(state) = of_role(&mut states, role) {
            state.apply(&change);
        }
        if states.iter().all(|(_, state)| state.is_established()) {
            self.refusals.retrying.store(false, Ordering::Relaxed);
        }
        self.health.set_connection(connection_state(&states));
        // Sending fails without subscribers. The lock makes sure that a new subscriber gets each
        // change once: in the initial state, or as an event.
        let _ = self.events.send(ConnectionEvent { role, change });
    }

    /// Notes that an attempt to reconnect has failed. A refusal is a change of the health at once,
    /// although the supervisor tries again.
    ///
    /// Returns `true` for the first refusal since all connections were established, which is logged
    /// for all of them. No event is broadcast.
    pub(crate) fn attempt_failed(&self, role: ConnectionRole, error: &Error) -> bool {
        let mut states = lock(&self.states);
        if let Some(state) = of_role(&mut states, role) {
            state.attempt = Some(error.clone());
        }
        self.health.set_connection(connection_state(&states));
        let is_refusal = error.kind() == ErrorKind::Denied;
        is_refusal && !self.refusals.retrying.swap(true, Ordering::Relaxed)
    }

    /// Returns the reporter of the transport's health.
    pub(crate) fn health(&self) -> &HealthReporter {
        &self.health
    }

    /// Returns a stream that begins with the current state.
    pub(crate) fn subscribe(&self) -> ConnectionEvents {
        let states = lock(&self.states);
        let events = self.events.subscribe();
        let mut current = Vec::new();
        for (role, state) in states.iter() {
            current.extend(state.iter().map(|change| ConnectionEvent { role: *role, change }));
        }
        let later = stream::unfold(events, |mut events| async {
            loop {
                match events.recv().await {
                    Ok(event) => return Some((event, events)),
                    // A slow reader missed events; the next ones follow.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        ConnectionEvents(stream::iter(current).chain(later).boxed())
    }
}

/// Finds the state of a connection.
fn of_role(
    states: &mut [(ConnectionRole, LatestChanges)],
    role: ConnectionRole,
) -> Option<&mut LatestChanges> {
    states.iter_mut().find(|(of, _)| *of == role).map(|(_, state)| state)
}

/// Returns the state that all connections make up. The worst one counts.
///
/// A refusal is worse than a lost connection, and a lost connection is worse than an alarm.
fn connection_state(states: &[(ConnectionRole, LatestChanges)]) -> ConnectionState {
    let states = || states.iter().map(|(_, state)| state);
    let refusal = |state: &LatestChanges| match &state.link {
        // No further attempt is made.
        Some(ConnectionChange::Refused(error)) => Some(error.clone().fatal()),
        _ => state.attempt.clone().filter(|error| error.kind() == ErrorKind::Denied),
    };
    if let Some(error) = states().find_map(refusal) {
        return ConnectionState::Refused { error };
    }
    for LatestChanges { link, attempt, .. } in states() {
        match link {
            Some(ConnectionChange::Lost(lost)) => {
                let error = Some(attempt.as_ref().unwrap_or(lost).clone());
                return ConnectionState::Connecting { error };
            }
            None => return ConnectionState::Connecting { error: None },
            _ => {}
        }
    }
    let blocked = states().find_map(|state| match &state.blocked {
        Some(ConnectionChange::Blocked(reason)) => Some(reason.clone()),
        _ => None,
    });
    blocked.map_or(ConnectionState::Connected, |reason| ConnectionState::Blocked { reason })
}

#[cfg(feature = "metrics")]
fn count_reconnect(role: ConnectionRole) {
    metrics::counter!("polywire_reconnects_total", "connection" => role.to_string()).increment(1);
}

#[cfg(not(feature = "metrics"))]
fn count_reconnect(_: ConnectionRole) {}

/// Events that a stream keeps for a slow reader.
const BUFFERED_EVENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [ConnectionRole; 2] = [ConnectionRole::Publishing, ConnectionRole::Consuming];

    async fn next_event(events: &mut ConnectionEvents) -> String {
        let event = events.next().await.unwrap();
        let change = match event.change {
            ConnectionChange::Connected { port, .. } => format!("connected to {port}"),
            ConnectionChange::Lost(_) => "lost".into(),
            ConnectionChange::Blocked(reason) => format!("blocked: {reason}"),
            other => format!("{other:?}"),
        };
        format!("{} {change}", event.role)
    }

    #[tokio::test]
    async fn stream_begins_with_the_current_state_and_continues_with_changes() {
        let broadcast = ConnectionEventBroadcast::new(&ROLES);
        let host = String::from("rabbit");
        broadcast.publish(
            ConnectionRole::Consuming,
            ConnectionChange::Connected { host: host.clone(), port: 1 },
        );
        broadcast.publish(
            ConnectionRole::Publishing,
            ConnectionChange::Connected { host: host.clone(), port: 1 },
        );
        broadcast.publish(
            ConnectionRole::Publishing,
            ConnectionChange::Lost(Error::new(ErrorKind::Disconnected, "gone")),
        );
        let mut events = broadcast.subscribe();
        assert_eq!(next_event(&mut events).await, "publisher lost");
        assert_eq!(next_event(&mut events).await, "consumer connected to 1");
        broadcast.publish(ConnectionRole::Publishing, ConnectionChange::Restored { host, port: 2 });
        broadcast
            .publish(ConnectionRole::Publishing, ConnectionChange::Blocked("no memory".into()));
        let mut later = broadcast.subscribe();
        assert_eq!(next_event(&mut later).await, "publisher connected to 2");
        assert_eq!(next_event(&mut later).await, "publisher blocked: no memory");
        assert!(next_event(&mut events).await.contains("Restored"));
        broadcast.publish(ConnectionRole::Publishing, ConnectionChange::Unblocked);
        assert_eq!(next_event(&mut broadcast.subscribe()).await, "publisher connected to 2");
        assert_eq!(next_event(&mut broadcast.subscribe()).await, "publisher connected to 2");
        drop(broadcast);
        assert_eq!(next_event(&mut later).await, "consumer connected to 1");
        assert_eq!(next_event(&mut later).await, "publisher Unblocked");
        assert!(later.next().await.is_none());
    }

    #[test]
    fn health_is_the_worse_of_both_connections_and_shows_the_first_refusal() {
        let broadcast = ConnectionEventBroadcast::new(&ROLES);
        let reader = broadcast.health().reader();
        let state = || reader.current().connection.to_string();
        let up = || ConnectionChange::Connected { host: "rabbit".into(), port: 1 };
        let error = |kind, text: &'static str| Error::new(kind, text);
        broadcast.publish(ConnectionRole::Publishing, up());
        assert_eq!(state(), "connecting");
        broadcast.publish(ConnectionRole::Consuming, up());
        assert_eq!(state(), "connected");
        broadcast.publish(ConnectionRole::Publishing, ConnectionChange::Blocked("memory".into()));
        assert_eq!(state(), "blocked: memory");
        let lost = ConnectionChange::Lost(error(ErrorKind::Disconnected, "gone"));
        broadcast.publish(ConnectionRole::Consuming, lost);
        assert_eq!(state(), "connecting: gone");
        broadcast.attempt_failed(ConnectionRole::Consuming, &error(ErrorKind::Denied, "password"));
        assert_eq!(state(), "refused: password");
        broadcast
            .attempt_failed(ConnectionRole::Consuming, &error(ErrorKind::Disconnected, "down"));
        assert_eq!(state(), "connecting: down");
        let restored = ConnectionChange::Restored { host: "rabbit".into(), port: 1 };
        broadcast.publish(ConnectionRole::Consuming, restored);
        assert_eq!(state(), "blocked: memory");
        broadcast.publish(ConnectionRole::Publishing, ConnectionChange::Unblocked);
        assert_eq!(state(), "connected");
        let refused = ConnectionChange::Refused(error(ErrorKind::Denied, "for good"));
        broadcast.publish(ConnectionRole::Publishing, refused);
        assert_eq!(state(), "refused: for good");
    }

    #[test]
    fn refusal_is_logged_for_all_connections_until_all_are_established() {
        let broadcast = ConnectionEventBroadcast::new(&ROLES);
        let [publishing, consuming] = ROLES;
        let refused = Error::new(ErrorKind::Denied, "password");
        let attempt = |role| broadcast.attempt_failed(role, &refused);
        let gone = || ConnectionChange::Lost(Error::new(ErrorKind::Disconnected, "gone"));
        let restored = || ConnectionChange::Restored { host: "rabbit".into(), port: 1 };
        for role in ROLES {
            broadcast.publish(role, gone());
        }
        let down = Error::new(ErrorKind::Disconnected, "down");
        assert!(!broadcast.attempt_failed(publishing, &down));
        assert!(attempt(publishing));
        assert!(!attempt(consuming) && !attempt(publishing), "one line stands for both");
        broadcast.publish(publishing, restored());
        broadcast.publish(publishing, gone());
        assert!(!attempt(publishing), "the other connection is still refused");
        for role in ROLES {
            broadcast.publish(role, restored());
        }
        broadcast.publish(consuming, gone());
        assert!(attempt(consuming));
    }

    #[cfg(feature = "metrics")]
    #[test]
    fn reconnects_are_counted_by_connection() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let broadcast = ConnectionEventBroadcast::new(&ROLES);
        metrics::with_local_recorder(&recorder, || {
            let (host, port) = (String::from("rabbit"), 1);
            let restored = || ConnectionChange::Restored { host: host.clone(), port };
            broadcast.publish(
                ConnectionRole::Consuming,
                ConnectionChange::Connected { host: host.clone(), port },
            );
            broadcast.publish(ConnectionRole::Consuming, restored());
            broadcast.publish(ConnectionRole::Publishing, restored());
            broadcast.publish(ConnectionRole::Publishing, restored());
        });
        let rendered = recorder.handle().render();
        for line in [r#"{connection="consumer"} 1"#, r#"{connection="publisher"} 2"#] {
            assert!(rendered.contains(&format!("polywire_reconnects_total{line}")), "{rendered}");
        }
    }
}
