//! Attempts to connect that a peer has refused, as the events of a socket report them. No I/O.

use omq_tokio::{DisconnectReason, Endpoint, MonitorEvent};
use rustc_hash::FxHashSet;

use super::engine_error::{DENIED, is_lasting};
use crate::endpoint::RefusingPeers;

/// The endpoints whose latest attempt was refused, of those that the engine tries again.
///
/// The engine reports a failed handshake with its reason. Then it reports that the next attempt is
/// delayed, or that none follows. An attempt without a failed handshake has failed for another
/// cause, which ends a refusal. Bounded by the endpoints of the socket.
#[derive(Default)]
pub(super) struct RefusedAttempts(FxHashSet<Endpoint>);

impl RefusedAttempts {
    /// Records the outcome of an attempt in the refusals of the socket.
    ///
    /// Events may be missed. A refusal may end then, until the next attempt.
    pub(super) fn record(&mut self, event: &MonitorEvent, refusals: &RefusingPeers) {
        match event {
            MonitorEvent::HandshakeSucceeded { endpoint, .. } => {
                self.0.remove(endpoint);
                refusals.accept(&endpoint.to_string());
            }
            MonitorEvent::HandshakeFailed { endpoint, reason, .. } => match is_lasting(reason) {
                true => {
                    refusals.refuse(&endpoint.to_string(), reason);
                    self.0.insert(endpoint.clone());
                }
                // A refusal may have ended, or the peer denies access. The next event decides.
                false => _ = self.0.remove(endpoint),
            },
            MonitorEvent::ConnectStopped {
                endpoint,
                reason: DisconnectReason::HandshakeRefused(_),
            } => refusals.refuse(&endpoint.to_string(), DENIED),
            MonitorEvent::ConnectDelayed { endpoint, .. } if !self.0.remove(endpoint) => {
                refusals.withdraw(&endpoint.to_string());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use omq_tokio::PeerIdent;

    use super::*;
    use crate::endpoint::BoundEndpoints;

    const ENDPOINT: &str = "tcp://[::1]:5000";

    fn endpoint() -> Endpoint {
        ENDPOINT.parse().unwrap()
    }

    fn failed(reason: &str) -> MonitorEvent {
        let peer_ident = PeerIdent::Path("peer".to_owned());
        MonitorEvent::HandshakeFailed { endpoint: endpoint(), peer_ident, reason: reason.into() }
    }

    fn delayed() -> MonitorEvent {
        MonitorEvent::ConnectDelayed { endpoint: endpoint(), retry_in: Duration::ZERO, attempt: 1 }
    }

    #[test]
    fn refusal_lasts_while_each_attempt_is_refused() {
        let bound = BoundEndpoints::default();
        let reader = bound.health().reporter().reader();
        let is_refused = || reader.current().connection.as_str() == "refused";
        let (presence, refusals) =
            (Arc::new(bound.health().add_socket()), RefusingPeers::default());
        refusals.report_to(&presence);
        refusals.add(ENDPOINT);
        let mut attempts = RefusedAttempts::default();
        let mismatch = || failed("mechanism mismatch: NULL and CURVE");
        for _ in 0..2 {
            for event in [mismatch(), delayed()] {
                attempts.record(&event, &refusals);
                assert!(is_refused(), "{event:?}");
            }
        }
        // No peer is there, or one that closes the connection.
        attempts.record(&delayed(), &refusals);
        assert!(!is_refused());
        attempts.record(&mismatch(), &refusals);
        attempts.record(&delayed(), &refusals);
        // The reason of a denial comes before it, and ends no refusal.
        attempts.record(&failed("handshake timeout"), &refusals);
        assert!(is_refused());
        attempts.record(&delayed(), &refusals);
        assert!(!is_refused());
    }
}
