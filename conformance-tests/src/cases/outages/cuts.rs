//! A load under repeated cuts, and its outcomes.

use polywire_core::Error;

use crate::context::TestContext;
use crate::hook::Hook;
use crate::operation_log::{OperationLog, OperationOutcome};
use crate::verdict::{Verdict, ensure};
use crate::wait::reaches;

/// Cuts the link this many times, each time after 200 acknowledged operations. Then waits for
/// another 200.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if the count of acknowledged operations stands
/// still.
pub(super) async fn cut_again_and_again(
    context: &TestContext,
    log: &OperationLog,
    times: u32,
) -> Verdict {
    let another_200 = async || {
        let target = log.summary().acknowledged + 200;
        reaches("another 200 operations are acknowledged", target, || log.summary().acknowledged)
            .await
    };
    for _ in 0..times {
        another_200().await?;
        context.disturb(Hook::Sever).await?;
    }
    another_200().await
}

/// Waits until every acknowledged operation has had its effect.
///
/// Waits as long as the number of effects grows at least once in 30 s. The summary is noted in the
/// report.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), with the counts, if an acknowledged operation has
/// no effect, or an operation that failed as unsent has one.
pub(in crate::cases) async fn nothing_is_lost(
    context: &TestContext,
    log: &OperationLog,
) -> Verdict {
    let acknowledged = log.summary().acknowledged;
    let seen = || acknowledged - log.summary().lost;
    let all = reaches("every acknowledged operation has its effect", acknowledged, seen).await;
    let summary = log.summary();
    context.note(summary);
    ensure!(
        all.is_ok() && summary.unexpected == 0,
        "the outcomes and the effects disagree: {summary}"
    );
    Ok(())
}

/// The outcome of a push or a publish.
pub(in crate::cases) fn outcome_of(outcome: &Result<(), Error>) -> OperationOutcome {
    match outcome {
        Ok(()) => OperationOutcome::Acknowledged,
        Err(error) if error.is_unsent() => OperationOutcome::Failed,
        Err(_) => OperationOutcome::Indeterminate,
    }
}
