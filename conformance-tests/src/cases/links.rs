//! Links that are cut, fall silent, or break in the middle of a message.
//!
//! These cases need [hooks](crate::Hook). A cut ends connections, and the backend must reconnect by
//! itself: clients and servers stay open across all disturbances of a case. A call in flight may be
//! lost, and must say so in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::{join, join_all};
use polywire_codec::MessagePack;
use polywire_core::rpc::Deduplication;
use polywire_core::{Client, Router, Transport, Window};
use tokio::sync::Semaphore;

use super::disturbed::{answered_again, calls_end_by_their_deadline_under, is_cut_off};
use super::services::{counting, echo, gated, use_permit};
use crate::context::TestContext;
use crate::hook::{Direction, Hook};
use crate::operation_log::{OperationLog, OperationOutcome};
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, reaches, within};

/// Calls in flight when the link is cut end well before their deadline, answered or as
/// disconnected.
///
/// 20 calls with a deadline of 30 s must end within 15 s. A backend that redelivers requests may
/// answer them.
///
/// Catches backends that lose replies with the link, and do not report it.
///
/// Needs the hook `sever`.
pub async fn calls_in_flight_end_when_the_link_is_cut(context: &TestContext) -> Verdict {
    const CALLS: u32 = 20;
    context.require_hook(Hook::Sever)?;
    let gate = Arc::new(Semaphore::new(0));
    let server = context.serve(gated(&gate)).await?;
    let client = context.client().await?;
    let start = |n: u32| client.request("wait").start::<u32>(&n);
    let calls: Vec<_> = (0..CALLS).map(start).collect::<Result<_, _>>().or_fail("calls start")?;
    eventually("the requests arrive", || server.handle.stats().running == u64::from(CALLS)).await?;

    context.disturb(Hook::Sever).await?;
    // A backend that redelivers requests runs each twice, so each gets two permits.
    gate.add_permits(2 * CALLS as usize);
    for call in calls {
        let what = "a call whose link was cut ends well before its deadline";
        let outcome = within(PATIENCE / 2, what, call).await?;
        ensure!(
            outcome.is_ok() || is_cut_off(&outcome),
            "a call whose link was cut ended with {outcome:?}"
        );
    }
    ensure!(
        client.stats().in_flight == 0,
        "{} calls are in flight in the end",
        client.stats().in_flight
    );
    Ok(())
}

/// A handler that runs when the link is cut runs to its end.
///
/// Its caller may have failed. A backend that redelivers requests begins it a second time. A later
/// call shows that the server has dealt with the cut before the handler may end.
///
/// Catches backends that take the calls of a lost link for cancelled ones.
///
/// Needs the hook `sever`.
pub async fn handlers_run_on_when_the_link_is_cut(context: &TestContext) -> Verdict {
    context.require_hook(Hook::Sever)?;
    let (gate, runs) = (Arc::new(Semaphore::new(0)), Arc::new(Runs::default()));
    let (handler_gate, handler_runs) = (gate.clone(), runs.clone());
    let router = echo().method("wait", move |(): ()| {
        let (gate, run) = (handler_gate.clone(), Run::begin(&handler_runs));
        async move {
            use_permit(&gate).await;
            run.end();
            Ok(())
        }
    });
    let _server = context.serve(router).await?;
    let client = context.client().await?;
    let waiting = client.request("wait").timeout(4 * PATIENCE).start::<()>(&());
    let waiting = waiting.or_fail("a call starts")?;
    eventually("the handler begins", || runs.begun.load(Ordering::SeqCst) == 1).await?;
    context.disturb(Hook::Sever).await?;
    answered_again(&client).await?;
    gate.add_permits(Semaphore::MAX_PERMITS);
    let count = |runs: &AtomicUsize| runs.load(Ordering::SeqCst);
    eventually("the handler is gone", || count(&runs.ended) + count(&runs.dropped) > 0).await?;
    let dropped = count(&runs.dropped);
    ensure!(dropped == 0, "{dropped} handlers were dropped when the link was cut");
    drop(waiting);
    Ok(())
}

/// The numbers of handlers that have begun, that ended, and that were dropped before their end.
#[derive(Default)]
struct Runs {
    begun: AtomicUsize,
    ended: AtomicUsize,
    dropped: AtomicUsize,
}

/// A handler that runs. Dropping it counts how it ended.
struct Run {
    runs: Arc<Runs>,
    is_ended: bool,
}

impl Run {
    fn begin(runs: &Arc<Runs>) -> Self {
        runs.begun.fetch_add(1, Ordering::SeqCst);
        Self { runs: runs.clone(), is_ended: false }
    }

    fn end(mut self) {
        self.is_ended = true;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let count = if self.is_ended { &self.runs.ended } else { &self.runs.dropped };
        count.fetch_add(1, Ordering::SeqCst);
    }
}

/// After a cut, calls between open endpoint handles are answered again.
///
/// The link is cut three times. The client and the server reconnect by themselves.
///
/// Catches backends that do not reconnect, or that do not open their endpoint handles again.
///
/// Needs the hook `sever`.
pub async fn calls_work_again_after_the_link_was_cut(context: &TestContext) -> Verdict {
    context.require_hook(Hook::Sever)?;
    let _server = context.serve(echo()).await?;
    let client = context.client().await?;
    for _ in 0..3 {
        client.call::<u32>("echo", &1).await.or_fail("a call over a link that holds")?;
        context.disturb(Hook::Sever).await?;
        answered_again(&client).await?;
        for n in 0..20 {
            client
                .call::<u32>("echo", &n)
                .await
                .or_fail("a call is answered once the link is back")?;
        }
    }
    Ok(())
}

/// Calls whose bytes vanish end by their deadline, and calls work again when bytes pass.
///
/// Checked for each direction. The connections stay open meanwhile.
///
/// Catches waits for a peer that are not bounded, and dead connections that are kept.
///
/// Needs the hooks `black-hole to-server` and `black-hole to-client`.
pub async fn a_black_hole_ends_calls_by_their_deadline(context: &TestContext) -> Verdict {
    let hooks = [Direction::ToServer, Direction::ToClient].map(Hook::BlackHole);
    hooks.into_iter().try_for_each(|hook| context.require_hook(hook))?;
    for hook in hooks {
        calls_end_by_their_deadline_under(context, hook).await?;
    }
    Ok(())
}

/// A message that is cut in the middle reaches no handler and harms no other client.
///
/// The call of the client that is cut off may be answered by a retry of the backend, or end as
/// disconnected.
///
/// Catches readers that take a part of a frame for a message, or complete it with bytes of the next
/// connection.
///
/// Needs the hook `cut-mid-frame`.
pub async fn a_frame_cut_in_the_middle_harms_no_other_client(context: &TestContext) -> Verdict {
    context.require_hook(Hook::CutMidFrame)?;
    let mutilated = Arc::new(AtomicUsize::new(0));
    let _server = context.serve(measuring(&mutilated)).await?;
    let (victim, bystander) = (context.client().await?, context.client().await?);
    let whole = "x".repeat(WHOLE);
    for client in [&victim, &bystander] {
        client.call::<()>("measure", &whole).await.or_fail("a call before the cut")?;
    }
    context.disturb(Hook::CutMidFrame).await?;
    let what = "a call that was cut in the middle ends well before its deadline";
    let outcome = within(PATIENCE / 2, what, victim.call::<()>("measure", &whole)).await?;
    ensure!(
        outcome.is_ok() || is_cut_off(&outcome),
        "a call that was cut in the middle ended with {outcome:?}"
    );
    bystander.call::<()>("measure", &whole).await.or_fail("another client's call after the cut")?;
    answered_again(&victim).await?;
    victim.call::<()>("measure", &whole).await.or_fail("a call of the victim once it is back")?;
    let mutilated = mutilated.load(Ordering::SeqCst);
    ensure!(mutilated == 0, "{mutilated} mutilated messages reached the handler");
    Ok(())
}

/// Under load and repeated cuts, every acknowledged call ran, and no call that failed as unsent
/// did.
///
/// 16 tasks call while the link is cut after every 300 answers, five times. A backend without
/// settlement must not run a request twice.
///
/// Catches errors that are marked unsent although a byte had left, and tags of an old channel that
/// settle deliveries of the next.
///
/// Needs the hook `sever`.
pub async fn no_acknowledged_call_is_lost_over_a_cut(context: &TestContext) -> Verdict {
    context.require_hook(Hook::Sever)?;
    let log = Arc::new(OperationLog::new());
    let server = context.serve_within(Window::new(64), counting(&log)).await?;
    call_over_cuts(context, &log).await?;
    let summary = log.summary();
    let may_repeat = server.transport.capabilities().settlement;
    ensure!(
        may_repeat || summary.duplicated == 0,
        "a request ran twice, although the backend never redelivers: {summary}"
    );
    Ok(())
}

/// No cut makes a request run twice, if its server deduplicates.
///
/// As [`no_acknowledged_call_is_lost_over_a_cut`], with a server that
/// [deduplicates](Deduplication).
///
/// Catches redeliveries under another id or reply address, which deduplication cannot recognize.
///
/// Needs the capability `settlement` and the hook `sever`.
pub async fn suppressed_duplicate_is_run_once_over_a_cut(context: &TestContext) -> Verdict {
    context.require("settlement", |can| can.settlement).await?;
    context.require_hook(Hook::Sever)?;
    let log = Arc::new(OperationLog::new());
    let cache = Deduplication::default();
    let server = context.serve_as(counting(&log), |server| server.deduplicate(cache)).await?;
    call_over_cuts(context, &log).await?;
    context.note(format_args!(
        "{} duplicates were answered from the reply cache",
        server.handle.stats().duplicates
    ));
    let summary = log.summary();
    ensure!(summary.duplicated == 0, "a server that deduplicates ran a request twice: {summary}");
    Ok(())
}

/// The size of a message that a network does not carry in one packet.
///
/// In bytes.
const WHOLE: usize = 100_000;

/// A service whose method `measure` counts bodies of another size.
fn measuring(mutilated: &Arc<AtomicUsize>) -> Router<MessagePack> {
    let mutilated = mutilated.clone();
    echo().method("measure", move |body: String| {
        mutilated.fetch_add(usize::from(body.len() != WHOLE), Ordering::SeqCst);
        async { Ok(()) }
    })
}

/// Calls from 16 tasks while the link is cut again and again. Every acknowledged call must have
/// run.
///
/// The summary of the log is noted in the report, unless a cut fails.
async fn call_over_cuts(context: &TestContext, log: &OperationLog) -> Verdict {
    let client = context.client().await?;
    let over = AtomicBool::new(false);
    let load = join_all((0..16).map(|_| call_until(&over, &client, log)));
    let ((), cut) = join(async { drop(load.await) }, async {
        let cut = cut_again_and_again(context, log).await;
        over.store(true, Ordering::Release);
        cut
    })
    .await;
    cut?;
    let summary = log.summary();
    context.note(summary);
    ensure!(
        summary.lost + summary.unexpected == 0,
        "the outcomes and the effects disagree: {summary}"
    );
    Ok(())
}

/// Calls until `over` is set, and logs each outcome.
async fn call_until(over: &AtomicBool, client: &Client<MessagePack>, log: &OperationLog) {
    while !over.load(Ordering::Acquire) {
        let id = log.attempt();
        log.finish(id, OperationOutcome::of(&client.call::<()>("run", &id).await));
        // Calls may end at once, in memory and over a link that is away. Other tasks need a turn.
        tokio::task::yield_now().await;
    }
}

/// Cuts the link after every 300 answered calls, five times. Then waits for another 300.
async fn cut_again_and_again(context: &TestContext, log: &OperationLog) -> Verdict {
    let another_300 = async || {
        let target = log.summary().acknowledged + 300;
        reaches("another 300 calls are answered", target, || log.summary().acknowledged).await
    };
    for _ in 0..5 {
        another_300().await?;
        context.disturb(Hook::Sever).await?;
    }
    another_300().await
}
