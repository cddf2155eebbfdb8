//! Transports that are closed while they send: what was taken is never called unsent.

use futures_util::future::{join, join_all};
use polywire_codec::MessagePack;
use polywire_core::{Pusher, Transport};

use super::receivers::{Load, LoggingWorker};
use crate::cases::outages::cuts::{nothing_is_lost, outcome_of};
use crate::cases::services::counting;
use crate::context::TestContext;
use crate::names::QUEUE;
use crate::operation_log::OperationOutcome;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, in_time, within};

/// The number of transports that are closed under load.
const ROUNDS: u32 = 4;

/// The number of acknowledged operations before each close.
const BEFORE_CLOSE: usize = 50;

/// A transport that is closed while it sends calls one as unsent only if no server got it.
///
/// Four transports in turn are closed while 16 tasks call over each. A call that ends as unsent
/// must not have run, and every acknowledged call must have.
///
/// A later client and a drain make sure that every request has arrived by then.
///
/// Catches a close that reports all that is in its buffers as unsent, although a part was written.
pub async fn close_denies_no_call_that_was_taken(context: &TestContext) -> Verdict {
    let shared = Load::default();
    let log = &shared.log;
    let server = context.serve(counting(log)).await?;
    for _ in 0..ROUNDS {
        let transport = context.calling().await?;
        let client = context.client_on(&transport).await?;
        let load = join_all((0..16).map(|_| async {
            let mut is_open = true;
            while is_open {
                let operation = async |id: u64| {
                    let outcome = client.call::<()>("run", &id).await;
                    is_open = outcome.is_ok();
                    OperationOutcome::of(&outcome)
                };
                shared.operate(operation).await;
            }
        }));
        close_under_load(&transport, &shared, load).await?;
    }
    let id = log.attempt();
    let last = context.client().await?.call::<()>("run", &id).await;
    last.or_fail("a call after the closed transports")?;
    log.finish(id, OperationOutcome::Acknowledged);
    within(PATIENCE, "the server drains", server.handle.drain()).await?;
    let summary = log.summary();
    context.note(summary);
    ensure!(
        summary.lost + summary.unexpected == 0,
        "the outcomes and the effects disagree: {summary}"
    );
    Ok(())
}

/// A transport that is closed while it pushes calls a job unsent only if no worker gets it.
///
/// As [`close_denies_no_call_that_was_taken`], with jobs. A job of a later pusher is done before
/// the jobs are counted.
///
/// Catches the same as [`close_denies_no_call_that_was_taken`].
///
/// Needs the capability `pipeline`.
pub async fn close_denies_no_job_that_was_taken(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let shared = Load::default();
    let log = &shared.log;
    let _worker = LoggingWorker::start(context, log).await?;
    for _ in 0..ROUNDS {
        let transport = context.calling().await?;
        let pusher = in_time(Pusher::connect(&transport, QUEUE, MessagePack)).await?;
        let load = join_all((0..16).map(|_| async {
            let mut is_open = true;
            while is_open {
                let operation = async |id: u64| {
                    let outcome = pusher.push(&id).await;
                    is_open = outcome.is_ok();
                    outcome_of(&outcome)
                };
                shared.operate(operation).await;
            }
        }));
        close_under_load(&transport, &shared, load).await?;
    }
    let id = log.attempt();
    context.pusher().await?.push(&id).await.or_fail("a push after the closed transports")?;
    log.finish(id, OperationOutcome::Acknowledged);
    nothing_is_lost(context, log).await
}

/// Closes a transport once 50 operations of the load over it are acknowledged. Waits for the end of
/// the load.
async fn close_under_load(
    transport: &impl Transport,
    shared: &Load,
    load: impl Future<Output = Vec<()>>,
) -> Verdict {
    let closing = async {
        let reached = shared.goes_on_for(BEFORE_CLOSE).await;
        in_time(transport.close()).await?;
        reached
    };
    let load = within(2 * PATIENCE, "the load over a closed transport ends", load);
    let (loaded, closed) = join(load, closing).await;
    loaded.map(drop).and(closed)
}
