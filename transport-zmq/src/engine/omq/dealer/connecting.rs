//! The way of a dealer to its peer: connecting, reconnecting, and a peer that denies access.
//!
//! The engine connects after one request, and connects again after each loss. It stops when the
//! peer rejects a handshake, which only a monitor event reports. So the socket of jobs, which stays
//! connected over a loss, keeps its events from one wait to the next.

use std::sync::atomic::Ordering;
use std::time::Duration;

use omq_tokio::{DisconnectReason, MonitorEvent, MonitorRecvError, MonitorStream};
use tokio::time::timeout;

use super::OmqDealer;
use crate::endpoint::Endpoint;
use crate::engine::connected_peer_counts::CLOSED_IN_HANDSHAKE;
use crate::engine::endpoint_failure::connect_cause;
use crate::engine::omq::connect_failure_probe::{probe, unresolvable};
use crate::engine::omq::options::RECONNECT_MAX;
use crate::engine::omq::refused_attempts::RefusedAttempts;
use crate::lock::lock;

/// Delay of an event of the engine after which the name of the peer is looked up: one second.
const UNTOLD_AFTER: Duration = Duration::from_secs(1);

impl OmqDealer {
    /// Connects until the peer accepts, and returns the numbers of the connections. The engine
    /// stops after a rejected handshake; this function goes on every 5 seconds, because the peer
    /// may be reconfigured.
    pub(super) async fn connect_until_accepted(
        &self,
        remote: &Endpoint,
    ) -> Result<Vec<u64>, omq_tokio::Error> {
        let socket = &self.endpoints.socket;
        let endpoint = remote.to_string();
        // Locked for the whole wait. No other task locks them meanwhile, and they stay if this
        // future is dropped.
        let mut kept = self.events.lock().await;
        let events = kept.get_or_insert_with(|| socket.monitor());
        loop {
            let connecting = async {
                self.begin_connecting(remote).await?;
                self.connections_until(|connections| !connections.is_empty()).await
            };
            tokio::select! {
                connections = connecting => return connections,
                () = self.denied(remote, events) => {}
            }
            self.denied.store(true, Ordering::Relaxed);
            self.tried.send_replace(true);
            self.dials.store(false, Ordering::Relaxed);
            match socket.disconnect(endpoint.as_str()).await {
                // The engine has dropped the endpoint already, after the rejected handshake.
                Ok(()) | Err(omq_tokio::Error::Unroutable) => {}
                // The endpoint would be connected twice.
                Err(error) => return Err(error),
            }
            tokio::time::sleep(RECONNECT_MAX).await;
        }
    }

    /// Lets the engine connect, unless it does already. The engine goes on by itself from then on,
    /// also after a loss. It gives up what it cannot resolve at first, and the name may be there a
    /// little later.
    async fn begin_connecting(&self, remote: &Endpoint) -> Result<(), omq_tokio::Error> {
        if self.dials.load(Ordering::Relaxed) {
            return Ok(());
        }
        let endpoint = remote.to_string();
        loop {
            match self.endpoints.socket.connect(endpoint.as_str()).await {
                Ok(()) => {
                    self.dials.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                Err(omq_tokio::Error::Closed) => return Err(omq_tokio::Error::Closed),
                Err(error) => {
                    let cause = unresolvable(remote).await;
                    let cause = cause.unwrap_or_else(|| connect_cause(remote, &error));
                    self.is_unreachable(remote, cause);
                }
            }
            self.tried.send_replace(true);
            tokio::time::sleep(UNTOLD_AFTER).await;
        }
    }

    /// Waits until the engine has stopped connecting, because the peer denied access. Records the
    /// cause of each other failed attempt.
    async fn denied(&self, remote: &Endpoint, events: &mut MonitorStream) {
        // The latest attempt: whether it reached a peer, and has a reason of its failure.
        let (mut is_reached, mut is_explained) = (false, false);
        let mut attempts = RefusedAttempts::default();
        loop {
            let pause = if lock(&self.failure).is_none() { Duration::ZERO } else { RECONNECT_MAX };
            let Ok(event) = timeout(pause + UNTOLD_AFTER, events.recv()).await else {
                // The engine has no event for a name that cannot be resolved any more.
                if let Some(cause) = unresolvable(remote).await {
                    self.is_unreachable(remote, cause);
                }
                continue;
            };
            match event.inspect(|event| attempts.record(event, &self.endpoints.refusals)) {
                Ok(MonitorEvent::ConnectStopped {
                    reason: DisconnectReason::HandshakeRefused(_),
                    ..
                }) => return,
                Ok(MonitorEvent::Connected { .. }) => is_reached = true,
                // An earlier connection, which has not failed to be made.
                Ok(MonitorEvent::HandshakeSucceeded { .. }) => is_reached = false,
                Ok(MonitorEvent::ConnectDelayed { .. }) => {
                    self.tried.send_replace(true);
                    self.denied.store(false, Ordering::Relaxed);
                    let was_reached = std::mem::take(&mut is_reached);
                    if !std::mem::take(&mut is_explained) {
                        // Neither the engine nor a probe reports why a peer closes a connection.
                        let closed = || format!("the handshake failed: {CLOSED_IN_HANDSHAKE}");
                        let cause = probe(remote).await.or_else(|| was_reached.then(closed));
                        *lock(&self.failure) = cause;
                    }
                }
                Ok(MonitorEvent::HandshakeFailed { reason, .. }) => {
                    // The event of the same attempt that follows has no reason.
                    is_explained = true;
                    *lock(&self.failure) = Some(format!("the handshake failed: {reason}"));
                }
                // The socket is closed, which `connections_until` reports.
                Err(MonitorRecvError::Closed) => return std::future::pending().await,
                _ => {}
            }
        }
    }

    /// Records that there is no peer at the endpoint, so that none denies access either.
    fn is_unreachable(&self, remote: &Endpoint, cause: String) {
        *lock(&self.failure) = Some(cause);
        self.denied.store(false, Ordering::Relaxed);
        self.endpoints.refusals.withdraw(&remote.to_string());
    }
}
