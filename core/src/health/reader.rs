//! Readers of a transport's health.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::canary_report::{CanaryEcho, CanaryReport, EndpointCanary};
use super::changes::HealthChanges;
use super::connection_state::ConnectionState;
use super::endpoint_health::{EndpointHealth, EndpointState};
use super::endpoint_probe::EndpointProbe;
use super::health::Health;
use super::registry::{Probes, Registry};
use crate::error::{Error, ErrorKind, Result};

/// Reader of the health of a transport, from [`Transport::health`](crate::Transport::health).
/// Clones read the same health. A reader does not keep the transport open.
///
/// ```
/// # use polywire_codec::MessagePack;
/// use std::time::Duration;
///
/// use polywire_core::{Memory, Router, Server, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> polywire_core::Result<()> {
/// let transport = Memory::new();
/// let server = Server::bind(&transport, "calculator").await?;
/// tokio::spawn(server.serve(Router::new(MessagePack)));
///
/// let health = transport.health();
/// let report = health.canary(Duration::from_secs(1)).await;
/// assert!(report.is_own());
///
/// let mut changes = health.changes();
/// assert!(changes.next().await.is_some_and(|health| health.is_ready()));
/// transport.close().await?;
/// assert!(changes.next().await.is_some_and(|health| !health.is_ready()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HealthReader {
    health: watch::Receiver<Health>,
    probes: Arc<Probes>,
    registry: Weak<Registry>,
}

impl HealthReader {
    /// Creates the reader of a registry.
    pub(super) fn new(
        (health, probes): (watch::Receiver<Health>, Arc<Probes>),
        registry: Weak<Registry>,
    ) -> Self {
        Self { health, probes, registry }
    }

    /// Creates the reader of a backend that does not report its health.
    #[must_use]
    pub fn unknown() -> Self {
        Self::new(Registry::new(ConnectionState::Unknown).watch(), Weak::new())
    }

    /// Returns the current health.
    #[must_use]
    pub fn current(&self) -> Health {
        let health = self.health.borrow().clone();
        // A dropped transport reports nothing any more.
        let is_dropped = health.is_known() && self.health.has_changed().is_err();
        if is_dropped { Health { connection: ConnectionState::Closed, ..health } } else { health }
    }

    /// Returns the current health and its changes, as a stream.
    #[must_use]
    pub fn changes(&self) -> HealthChanges {
        HealthChanges::new(self.health.clone())
    }

    /// Sends a canary through the queue or the socket of each endpoint handle that receives work,
    /// and waits until all are back, at most for `limit`.
    ///
    /// A canary waits its turn as a request does: it comes late behind a long queue, and not at all
    /// while the window of the handle is full. It never reaches a handler, and no counter counts
    /// it. `docs/observability.md` lists what a canary proves on each transport.
    ///
    /// If the future is dropped, canaries on their way are discarded when they arrive.
    ///
    /// # Errors
    ///
    /// Each outcome in the report is an error of its own: [`ErrorKind::DeadlineExceeded`] after
    /// `limit`, [`ErrorKind::Unsupported`] where the backend has no canaries,
    /// [`ErrorKind::Closed`] for a handle that drains or has stopped, also while its canary is on
    /// its way, or the error of the backend.
    pub async fn canary(&self, limit: Duration) -> CanaryReport {
        let endpoints = self.current().endpoints;
        let mut canaries = JoinSet::new();
        for (position, endpoint) in endpoints.iter().enumerate() {
            let (id, probe) = (endpoint.id, self.probes.get(endpoint.id));
            let health = self.health.clone();
            canaries.spawn(async move { (position, send(id, probe, limit, health).await) });
        }
        let mut outcomes: Vec<_> = endpoints.iter().map(|_| None).collect();
        while let Some(joined) = canaries.join_next().await {
            // A probe that panicked has no outcome.
            if let Ok((position, outcome)) = joined {
                outcomes[position] = Some(outcome);
            }
        }
        let report = |(EndpointHealth { role, name, .. }, outcome): (_, Option<_>)| {
            let panicked =
                || Err(Error::new(ErrorKind::Closed, "cannot send the canary: it panicked"));
            EndpointCanary { role, name, outcome: outcome.unwrap_or_else(panicked) }
        };
        CanaryReport { endpoints: endpoints.into_iter().zip(outcomes).map(report).collect() }
    }

    /// Removes the entries of servers, workers and listeners that have ended, so that they do not
    /// keep [`is_ready`](Health::is_ready) false any more. For programs that end one of several
    /// servers and go on.
    pub fn forget_stopped(&self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.retain(|endpoint| !endpoint.state.has_ended());
        }
    }
}

/// Sends the canary of the endpoint handle `id`.
///
/// A canary that is on its way when the handle drains may never come back. Its failure then says
/// nothing about the handle, so the outcome is that of a handle which drains.
async fn send(
    id: u64,
    probe: Option<Arc<dyn EndpointProbe>>,
    limit: Duration,
    mut health: watch::Receiver<Health>,
) -> Result<CanaryEcho> {
    match state(&health.borrow(), id) {
        Some(EndpointState::Interrupted | EndpointState::Consuming) => {}
        Some(EndpointState::Refused { error }) => return Err(error.clone()),
        ended => return Err(ending(ended)),
    }
    let probe = probe.ok_or_else(|| Error::lacking("HealthReader::canary", "canaries"))?;
    let outcome = tokio::select! {
        biased;
        outcome = timeout(limit, probe.canary(limit)) => Some(outcome),
        () = left(id, &mut health) => None,
    };
    let health = health.borrow();
    let current = state(&health, id);
    match outcome {
        Some(Ok(Ok(echo))) => Ok(echo),
        _ if !is_live(current) => Err(ending(current)),
        Some(Ok(failed)) => failed,
        // The transport is dropped, with all of its handles.
        None => Err(ending(None)),
        Some(Err(_)) => {
            let text = "cannot receive the canary: it did not come back";
            let error = Error::new(ErrorKind::DeadlineExceeded, text);
            let error = error.with("milliseconds", limit.as_millis());
            let connection = &health.connection;
            let is_troubled = connection.is_troubled();
            Err(if is_troubled { error.with("connection", connection) } else { error })
        }
    }
}

/// Waits until a handle drains or has ended, or the transport is dropped.
async fn left(id: u64, health: &mut watch::Receiver<Health>) {
    // An error means that the transport is dropped.
    let _ = health.wait_for(|health| !is_live(state(health, id))).await;
}

/// Returns the state of a handle; `None` once its entry is removed, when the handle has ended.
fn state(health: &Health, id: u64) -> Option<&EndpointState> {
    let endpoint = health.endpoints.iter().find(|endpoint| endpoint.id == id);
    endpoint.map(|endpoint| &endpoint.state)
}

/// Returns whether a handle may still consume, now or later.
fn is_live(state: Option<&EndpointState>) -> bool {
    state.is_some_and(EndpointState::is_live)
}

/// Returns the error of a canary to a handle that drains or has ended.
fn ending(state: Option<&EndpointState>) -> Error {
    if let Some(EndpointState::Failed { error }) = state {
        return error.clone();
    }
    let text = "cannot send the canary: the endpoint handle drains or has stopped";
    Error::new(ErrorKind::Closed, text)
}

impl fmt::Debug for HealthReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HealthReader").field(&self.current()).finish()
    }
}
