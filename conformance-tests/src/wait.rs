//! Bounded waits, so that a case never hangs.

use std::future::IntoFuture;
use std::time::Duration;

use polywire_core::Result;

use crate::verdict::{OrFail, Verdict};

/// A bound for anything that does not hang: longer than any operation takes, shorter than a case.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The time beyond its timeout that an operation may take, on a machine that is busy with something
/// else.
pub(crate) const LATE_MAX: Duration = Duration::from_secs(2);

/// The pause between two looks of [`eventually`].
const LOOK_PAUSE: Duration = Duration::from_millis(2);

/// Awaits an operation of a backend, such as opening, sending or closing, for up to [`PATIENCE`].
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if the operation fails or takes longer.
pub(crate) async fn in_time<T, F: IntoFuture<Output = Result<T>>>(operation: F) -> Verdict<T> {
    let ended = tokio::time::timeout(PATIENCE, operation.into_future()).await;
    ended.or_fail("an operation ends in time")?.or_fail("an operation succeeds")
}

/// Waits until a condition holds, for up to [`PATIENCE`]. Checks it every 2 ms.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), naming `what`, if it never holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Verdict {
    let looking = async {
        while !holds() {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.or_fail(&format!("{what} within {PATIENCE:?}"))
}

/// Waits until a count reaches `target`, as long as it grows at least once per [`PATIENCE`]: the
/// speed does not matter.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), naming `what`, if the count stands still.
pub(crate) async fn reaches<N: Copy + PartialOrd>(
    what: &str,
    target: N,
    count: impl Fn() -> N,
) -> Verdict {
    loop {
        let counted = count();
        if counted >= target {
            return Ok(());
        }
        eventually(what, || count() > counted).await?;
    }
}
