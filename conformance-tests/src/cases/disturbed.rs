//! Calls under a disturbance, and after its end.

use std::time::Duration;

use futures_util::future::join_all;
use polywire_codec::MessagePack;
use polywire_core::{CallError, Client, ErrorKind};
use tokio::time::Instant;

use super::services::echo;
use crate::context::TestContext;
use crate::hook::Hook;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{LATE_MAX, PATIENCE, within};

/// Checks that calls under a disturbance that lasts end by their deadline, and that calls are
/// answered once the space is healed.
///
/// Ten calls at once have a timeout of 2 s each, and must end within 4 s: the timeout, and 2 s
/// for a busy machine.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if a call succeeds under the disturbance, ends
/// late, or no call succeeds after it; [`Failure::NotRun`](crate::Failure::NotRun) without the
/// hook.
pub(super) async fn calls_end_by_their_deadline_under(
    context: &TestContext,
    hook: Hook,
) -> Verdict {
    const TIMEOUT: Duration = Duration::from_secs(2);
    context.require_hook(hook)?;
    let _server = context.serve(echo()).await?;
    let client = context.client().await?;
    client.call::<u32>("echo", &1).await.or_fail("a call over a link that holds")?;
    context.disturb(hook).await?;
    let start = Instant::now();
    let brief = client.with_timeout(TIMEOUT);
    for outcome in join_all((0..10).map(|_| brief.call::<u32>("echo", &1))).await {
        let disturbed =
            matches!(outcome, Err(CallError::DeadlineExceeded(_))) || is_cut_off(&outcome);
        ensure!(disturbed, "under the disturbance {hook}, a call ended with {outcome:?}");
    }
    let took = start.elapsed();
    ensure!(took <= TIMEOUT + LATE_MAX, "under the disturbance {hook}, calls ended after {took:?}");
    ensure!(
        client.stats().in_flight == 0,
        "{} calls are in flight in the end",
        client.stats().in_flight
    );
    context.heal().await?;
    answered_again(&client).await
}

/// Repeats a call of `echo` until it is answered, for up to [`PATIENCE`].
///
/// Each try has a timeout of 2 s, and the next one follows 20 ms after a failure.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if no call is answered in that time.
pub(super) async fn answered_again(client: &Client<MessagePack>) -> Verdict {
    let brief = client.with_timeout(Duration::from_secs(2));
    let trying = async {
        while brief.call::<u32>("echo", &1).await.is_err() {
            // Calls over a link that is away may fail at once.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(PATIENCE, "after the disturbance, the server is reached again", trying).await
}

/// Returns true if a call failed because its connection did.
///
/// The kinds are disconnected, replies lost and unroutable.
pub(super) fn is_cut_off<T>(outcome: &Result<T, CallError>) -> bool {
    let kind = outcome.as_ref().err().and_then(CallError::kind);
    matches!(kind, Some(ErrorKind::Disconnected | ErrorKind::RepliesLost | ErrorKind::Unroutable))
}
