//! Waiting for a condition, with a bound.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{sleep, timeout};

/// The bound of a wait: only a hang takes longer, even on a busy machine.
pub(crate) const WAIT_MAX: Duration = Duration::from_mins(2);

/// Waits until a condition holds.
///
/// The condition is looked at every 2 ms.
///
/// # Errors
///
/// If the condition does not hold within [`WAIT_MAX`]. `what` describes the condition.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) -> Result<()> {
    let looking = async {
        while !holds() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    within(what, looking).await
}

/// Repeats an attempt until it returns a value.
///
/// The next attempt follows after 20 ms. No attempt has a bound of its own: at the bound of the
/// wait, the attempt is dropped.
///
/// # Errors
///
/// If no attempt returns a value within [`WAIT_MAX`].
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

/// Awaits a future.
///
/// The future is dropped at the bound.
///
/// # Errors
///
/// If the future does not complete within [`WAIT_MAX`].
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    within_bound(what, WAIT_MAX, future).await
}

/// Awaits a future that may take longer than other waits.
///
/// The future is dropped at the bound.
///
/// # Errors
///
/// If the future does not complete within `bound`.
pub(crate) async fn within_bound<T>(
    what: &str,
    bound: Duration,
    future: impl Future<Output = T>,
) -> Result<T> {
    timeout(bound, future).await.with_context(|| format!("timed out waiting until {what}"))
}
