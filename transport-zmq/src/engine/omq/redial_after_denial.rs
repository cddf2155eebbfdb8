//! Endpoints that are dialed again after a rejected handshake, which ends the attempts of the
//! engine.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use omq_tokio::{DisconnectReason, MonitorEvent, MonitorRecvError, MonitorStream, Socket};
use tokio::time::{Instant, sleep_until};

use super::engine_error::is_of_message_max;
use super::options::RECONNECT_MAX;
use super::refused_attempts::RefusedAttempts;
use crate::endpoint::{Endpoint, RefusingPeers};
use crate::engine::admission_log::AdmissionLog;
use crate::lock::lock;

/// Dials each endpoint again, 5 seconds after its peer has rejected the handshake: the peer may be
/// reconfigured. Records refusals and their ends, and logs peers whose messages are too large. Runs
/// until the socket is closed, and holds the socket.
///
/// `connected` lists the endpoints of the socket. An endpoint that has left the list is not dialed
/// any more. `events` begin before the socket connects.
pub(super) async fn redial(
    socket: Socket,
    connected: Arc<Mutex<Vec<Endpoint>>>,
    refusals: RefusingPeers,
    mut events: MonitorStream,
) {
    // The endpoints to dial, each once, in the order of their moments.
    let mut waiting = VecDeque::<(Instant, omq_tokio::Endpoint)>::new();
    let mut attempts = RefusedAttempts::default();
    let rejections = AdmissionLog::default();
    loop {
        // Subscribers send thousands of events without a pause.
        tokio::task::coop::consume_budget().await;
        let next = waiting.front().map_or_else(Instant::now, |(at, _)| *at);
        let stopped = tokio::select! {
            event = events.recv() => match event.inspect(|one| attempts.record(one, &refusals)) {
                Ok(MonitorEvent::Disconnected { endpoint, reason, .. }) => {
                    if is_of_message_max(&reason) && listed(&connected).contains(&endpoint) {
                        rejections.note("message_max");
                    }
                    continue;
                }
                Ok(MonitorEvent::ConnectStopped {
                    endpoint,
                    reason: DisconnectReason::HandshakeRefused(_),
                }) => vec![endpoint],
                // A rejection may be among the events that were missed.
                Err(MonitorRecvError::Lagged(_)) => listed(&connected),
                Ok(MonitorEvent::Closed) | Err(_) => return,
                Ok(_) => continue,
            },
            () = sleep_until(next), if !waiting.is_empty() => {
                let Some((_, endpoint)) = waiting.pop_front() else { continue };
                match dial(&socket, &connected, &refusals, &endpoint).await {
                    Ok(()) => continue,
                    Err(omq_tokio::Error::Closed) => return,
                    // The engine gives up a name that it cannot resolve. No peer is there, so that
                    // none refuses either.
                    Err(_) => {
                        refusals.withdraw(&endpoint.to_string());
                        vec![endpoint]
                    }
                }
            }
        };
        for endpoint in stopped {
            if waiting.iter().all(|(_, other)| *other != endpoint) {
                waiting.push_back((Instant::now() + RECONNECT_MAX, endpoint));
            }
        }
    }
}

/// Dials an endpoint, unless it is not listed any more or has a peer.
///
/// # Errors
///
/// The error of the engine, which does not dial the endpoint then.
async fn dial(
    socket: &Socket,
    connected: &Mutex<Vec<Endpoint>>,
    refusals: &RefusingPeers,
    endpoint: &omq_tokio::Endpoint,
) -> Result<(), omq_tokio::Error> {
    let is_listed = || listed(connected).contains(endpoint);
    let peers = socket.connections().await?;
    if peers.iter().any(|peer| peer.endpoint == *endpoint) {
        // The event of the connection may have been missed.
        refusals.accept(&endpoint.to_string());
        return Ok(());
    }
    if !is_listed() {
        return Ok(());
    }
    // The program may have removed and added the endpoint meanwhile, so that the engine dials it
    // already. An error means that the engine does not. A program that adds the endpoint between
    // these two calls is connected twice.
    let _ = socket.disconnect(endpoint).await;
    socket.connect(endpoint).await?;
    if !is_listed() {
        // Removed meanwhile. An error means that the socket is closed.
        let _ = socket.disconnect(endpoint).await;
    }
    Ok(())
}

/// Returns the listed endpoints, as the engine reads them.
fn listed(connected: &Mutex<Vec<Endpoint>>) -> Vec<omq_tokio::Endpoint> {
    let read = |endpoint: &Endpoint| endpoint.to_string().parse::<omq_tokio::Endpoint>().ok();
    lock(connected).iter().filter_map(read).collect()
}
