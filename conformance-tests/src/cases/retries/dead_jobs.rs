//! The dead letters of the queue that the cases use.

use std::time::Duration;

use polywire_core::pipeline::DeadLetter;
use polywire_core::{AnyTransport, DeadLetters, Error, ErrorKind, Result};
use tokio::time::timeout;

use crate::names::QUEUE;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, within};

/// The pause of a delayed retry: long enough to measure, short enough to wait for.
pub(super) const PAUSE: Duration = Duration::from_millis(400);

/// Returns the dead letters, once there are `count` of them. More of them fail the case.
///
/// # Errors
///
/// [`Failure::Failed`], if there are fewer after 30 s, or more.
pub(in crate::cases) async fn dead_jobs(
    transport: &AnyTransport,
    count: usize,
) -> Verdict<Vec<DeadLetter>> {
    let dead = DeadLetters::of_queue(transport, QUEUE).or_fail("dead letters")?;
    let mut found = Vec::new();
    let looking = async {
        while found.len() < count {
            found = within_patience(dead.look(count + 9)).await.or_fail("reading dead letters")?;
            tokio::time::sleep(PAUSE / 20).await;
        }
        Ok(())
    };
    let looked = within(PATIENCE, "the job is among the dead letters", looking).await;
    let missing = |late| format!("the job is not among the dead letters: {late}");
    looked.unwrap_or_else(|late| Err(Failure::new(missing(late))))?;
    ensure!(found.len() == count, "of {count} dead letters there are {}", found.len());
    Ok(found)
}

/// Returns the last dead letter of a list.
///
/// # Errors
///
/// [`Failure::Failed`], if the list is empty.
pub(in crate::cases) fn only(mut dead_letters: Vec<DeadLetter>) -> Verdict<DeadLetter> {
    dead_letters.pop().or_fail("a dead letter")
}

/// Awaits an operation on dead letters for up to [`PATIENCE`].
///
/// # Errors
///
/// [`ErrorKind::DeadlineExceeded`] if the operation takes longer, or its own error.
pub(in crate::cases) async fn within_patience<T>(
    operation: impl Future<Output = Result<T>>,
) -> Result<T> {
    timeout(PATIENCE, operation).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::DeadlineExceeded,
            "cannot finish an operation on dead letters in time",
        ))
    })
}
