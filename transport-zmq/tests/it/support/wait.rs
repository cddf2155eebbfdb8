//! Waiting for a condition.

use std::time::Duration;

use polywire_core::Transport;
use polywire_zmq::Zmq;
use tokio::time::{sleep, timeout};

/// The time after which a wait has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a condition holds. Panics with `what` if that takes longer than [`PATIENCE`].
pub(crate) async fn until(what: &str, is_met: impl Fn() -> bool) {
    let polling = async {
        while !is_met() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("not met in time: {what}"));
}

/// Waits until the transport is connected, then for ten heartbeats. Panics if the connection is
/// lost meanwhile.
pub(crate) async fn stays_connected(transport: &Zmq, heartbeat: Duration) {
    let mut changes = transport.health().changes();
    let mut becomes = async |connected: bool| {
        while changes.next().await.expect("the transport is open").connection.is_connected()
            != connected
        {}
    };
    timeout(PATIENCE, becomes(true)).await.expect("the transport is connected");
    let lost = timeout(10 * heartbeat, becomes(false)).await;
    assert!(lost.is_err(), "the connection was lost");
}
