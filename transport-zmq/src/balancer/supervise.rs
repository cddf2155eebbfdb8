//! The task that connects a peer and reconnects it after a loss.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{Error, ErrorKind, Result};
use tokio::time::{sleep, timeout};

use super::outage_log::Outage;
use super::peer::{PeerConnection, PeerKind};
use super::state::PRUNE_INTERVAL;

/// Starts the task that connects and reconnects, unless it runs already. The task ends with the
/// socket, or with [`PeerConnection::stop`]. Requires a tokio runtime.
pub(super) fn supervise(peer: &Arc<PeerConnection>) {
    peer.supervised_by(|| tokio::spawn(reconnect(peer.clone())).abort_handle());
}

/// Connects and reconnects until the socket is closed, which the error of
/// [`Dealer::up`](crate::engine::Dealer::up) reports.
///
/// Each round waits for a peer, marks the connection as live, waits for its loss, and fails its
/// calls. This task alone marks its connection as live. An endpoint change or a close may end the
/// liveness, too.
async fn reconnect(peer: Arc<PeerConnection>) {
    let connects = peer.kind() == PeerKind::Connecting;
    let mut outage = Outage::before_first(connects);
    while outage.last_until(peer.name(), up(&peer), || peer.dealer().failure()).await.is_ok() {
        if connects {
            outage.end(peer.name());
        } else {
            peer.log_inbound();
        }
        peer.set_connected();
        until_lost(&peer).await;
        outage = Outage::after_loss(connects, peer.set_lost());
        // Backs off from a peer that accepts each connection and closes it at once.
        sleep(RECONNECT_PAUSE).await;
    }
}

/// Waits until a peer is connected. Reports meanwhile that the peer rejects our credentials.
///
/// # Errors
///
/// `Closed` if the socket is closed.
async fn up(peer: &PeerConnection) -> Result<()> {
    tokio::select! {
        up = peer.dealer().up() => up,
        () = report_denial(peer) => Ok(()),
    }
}

/// Reports a peer that rejects our credentials to the health of the transport, and withdraws the
/// report when the peer does not or is gone. Never resolves.
async fn report_denial(peer: &PeerConnection) {
    loop {
        peer.dealer().until_denied(true).await;
        let error = Error::new(ErrorKind::Denied, "the peer rejected our credentials");
        peer.presence.set_refused(Some(error.with("endpoint", &**peer.name())));
        peer.dealer().until_denied(false).await;
        peer.presence.set_refused(None);
    }
}

/// Waits until the peer is disconnected, and prunes the connection every five seconds meanwhile.
async fn until_lost(peer: &PeerConnection) {
    let down = peer.dealer().down();
    tokio::pin!(down);
    while timeout(PRUNE_INTERVAL, &mut down).await.is_err() {
        peer.prune();
    }
}

/// Pause after a lost connection: 50 ms. The engine backs off further while connecting fails.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
