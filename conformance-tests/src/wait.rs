//! Bounded waits, so that a case never hangs.

use std::fmt::Display;
use std::future::IntoFuture;
use std::time::Duration;

use polywire_core::Result;

use crate::progress;
use crate::verdict::{Failure, OrFail, Verdict};

/// A bound for anything that does not hang: longer than any operation takes, shorter than a case.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The time beyond its timeout that an operation may take, on a machine that is busy with something
/// else.
pub(crate) const LATE_MAX: Duration = Duration::from_secs(2);

/// The pause between two looks of [`eventually`].
const LOOK_PAUSE: Duration = Duration::from_millis(2);

/// Awaits a future for up to `limit`. `what` is the expectation, as in `a job arrives in time`.
///
/// # Errors
///
/// [`Failure::Failed`], if the future takes longer. The sentence says what had arrived at the case
/// by then, how long ago the latest step ended, and which transports are not connected.
pub(crate) async fn within<F: IntoFuture>(
    limit: Duration,
    what: &str,
    future: F,
) -> Verdict<F::Output> {
    match tokio::time::timeout(limit, future.into_future()).await {
        Ok(output) => {
            progress::note(what);
            Ok(output)
        }
        Err(_) => Err(late(what, limit)),
    }
}

/// The failure of a wait that has lasted for `limit`.
fn late(what: &str, limit: Duration) -> Failure {
    Failure::new(format!("{what} within {limit:?}: it did not{}", progress::explain()))
}

/// Awaits an operation of a backend, such as opening, sending or closing, for up to [`PATIENCE`].
///
/// # Errors
///
/// [`Failure::Failed`], if the operation fails or takes longer.
pub(crate) async fn in_time<T, F: IntoFuture<Output = Result<T>>>(operation: F) -> Verdict<T> {
    let what = format!("{} ends in time", operation_for::<T>());
    within(PATIENCE, &what, operation).await?.or_fail("an operation succeeds")
}

/// Names an operation by its result: `opening a Puller` for a handle, and `an operation` for
/// others.
fn operation_for<T>() -> String {
    const HANDLES: [&str; 8] =
        ["Client", "Server", "Pusher", "Puller", "Worker", "Publisher", "Subscriber", "Listener"];
    let path = std::any::type_name::<T>().split('<').next().unwrap_or_default();
    let name = path.rsplit("::").next().unwrap_or_default();
    if HANDLES.contains(&name) { format!("opening a {name}") } else { "an operation".to_owned() }
}

/// Waits until a condition holds, for up to [`PATIENCE`]. Checks it every 2 ms.
///
/// # Errors
///
/// [`Failure::Failed`], naming `what`, if it never holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Verdict {
    let looking = async {
        while !holds() {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    };
    within(PATIENCE, what, looking).await
}

/// Waits until a count reaches `target`, as long as it grows at least once per [`PATIENCE`]: the
/// speed does not matter.
///
/// # Errors
///
/// [`Failure::Failed`], naming `what`, the count and the target, if the count stands still.
pub(crate) async fn reaches<N: Copy + PartialOrd + Display>(
    what: &str,
    target: N,
    count: impl Fn() -> N,
) -> Verdict {
    loop {
        let counted = count();
        if counted >= target {
            progress::note(what);
            return Ok(());
        }
        let what = format!("{what}: {counted} of {target}, and another");
        eventually(&what, || count() > counted).await?;
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::Puller;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn count_that_stands_still_is_named_with_its_target() {
        let failure = reaches("calls are answered", 200, || 112).await.unwrap_err().to_string();
        let expected = "calls are answered: 112 of 200, and another within 30s: it did not";
        assert!(failure.starts_with(expected), "{failure}");
    }

    #[test]
    fn operations_are_named_by_their_results() {
        assert_eq!(operation_for::<Puller<u32>>(), "opening a Puller");
        assert_eq!(operation_for::<()>(), "an operation");
    }
}
