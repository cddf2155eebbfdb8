//! Waiting for a condition.

use std::time::Duration;

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
