//! Waiting for what is to come about, but not for ever.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{sleep, timeout};

/// Longer than anything takes that does not hang, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until it is so.
///
/// # Errors
///
/// If it is not within [`PATIENCE`]; `what` is a sentence about that.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) -> Result<()> {
    let looking = async {
        while !holds() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    within(what, looking).await
}

/// Tries until something comes of it. The last failure is lost, so tries should be few or dull.
pub(crate) async fn until_some<T, F: Future<Output = Option<T>>>(
    what: &str,
    attempt: impl Fn() -> F,
) -> Result<T> {
    let trying = async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    within(what, trying).await
}

/// What a future comes to, which ends within [`PATIENCE`].
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    timeout(PATIENCE, future).await.with_context(|| format!("waited in vain until {what}"))
}
