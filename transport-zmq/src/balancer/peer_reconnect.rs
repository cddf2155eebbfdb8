//! The task that connects a peer and reconnects it after a loss.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::outage_log::Outage;
use super::peer::{PeerConnection, PeerKind};
use super::shared_state::PRUNE_INTERVAL;

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
    let failure = || peer.dealer().failure();
    while outage.last_until(peer.name(), peer.dealer().up(), failure).await.is_ok() {
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
