//! Links that are cut, fall silent, or break in the middle of a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use polywire_codec::MessagePack;
use polywire_core::rpc::Deduplication;
use polywire_core::{CallError, Client, ErrorKind, Router, Transport, Window};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::calls::{eventually, gated, reaches};
use crate::stage::PATIENCE;
use crate::verdict::ensure;
use crate::{Direction, End, Hook, OrFail, Stage, Tally, Verdict};

/// Calls in flight when the link is cut end well before their deadline, answered or as
/// disconnected.
pub async fn calls_in_flight_end_when_the_link_is_cut(stage: &Stage) -> Verdict {
    const CALLS: u32 = 20;
    stage.require_hook(Hook::Sever)?;
    let gate = Arc::new(Semaphore::new(0));
    let server = stage.serve(gated(&gate)).await?;
    let client = stage.client().await?;
    let start = |n: u32| client.request("wait").start::<u32>(&n);
    let calls: Vec<_> = (0..CALLS).map(start).collect::<Result<_, _>>().or_fail("calls start")?;
    eventually("the requests arrive", || server.handle.stats().running == u64::from(CALLS)).await?;

    stage.disturb(Hook::Sever).await?;
    // A backend that keeps requests may have them carried out again, so there is a permit for each
    // time.
    gate.add_permits(2 * CALLS as usize);
    for call in calls {
        let ended = timeout(PATIENCE / 2, call).await;
        let outcome = ended.or_fail("a call whose link was cut ends well before its deadline")?;
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

/// After a cut, calls are answered again by what was open before.
pub async fn calls_work_again_after_the_link_was_cut(stage: &Stage) -> Verdict {
    stage.require_hook(Hook::Sever)?;
    let _server = stage.serve(echo()).await?;
    let client = stage.client().await?;
    for _ in 0..3 {
        client.call::<u32>("echo", &1).await.or_fail("a call over a link that holds")?;
        stage.disturb(Hook::Sever).await?;
        answered_again(&client).await?;
        for n in 0..20 {
            client
                .call::<u32>("echo", &n)
                .await
                .or_fail("once the link is back, each call is answered")?;
        }
    }
    Ok(())
}

/// Calls whose bytes vanish end by their deadline, and work again when bytes pass.
pub async fn a_black_hole_ends_calls_by_their_deadline(stage: &Stage) -> Verdict {
    let hooks = [Direction::ToServer, Direction::ToClient].map(Hook::BlackHole);
    hooks.into_iter().try_for_each(|hook| stage.require_hook(hook))?;
    for hook in hooks {
        calls_end_by_their_deadline_under(stage, hook).await?;
    }
    Ok(())
}

/// A message that is cut in the middle reaches no handler and harms no other client.
pub async fn a_frame_cut_in_the_middle_harms_nobody_else(stage: &Stage) -> Verdict {
    stage.require_hook(Hook::CutMidFrame)?;
    let mutilated = Arc::new(AtomicUsize::new(0));
    let _server = stage.serve(measuring(&mutilated)).await?;
    let (victim, bystander) = (stage.client().await?, stage.client().await?);
    let whole = "x".repeat(WHOLE);
    for client in [&victim, &bystander] {
        client.call::<()>("measure", &whole).await.or_fail("a call before the cut")?;
    }
    stage.disturb(Hook::CutMidFrame).await?;
    let outcome = timeout(PATIENCE / 2, victim.call::<()>("measure", &whole)).await;
    let outcome =
        outcome.or_fail("a call that was cut in the middle ends well before its deadline")?;
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

/// The size of a message that is larger than what goes over a network in one piece.
const WHOLE: usize = 100_000;

/// A service that counts what came in another size.
fn measuring(mutilated: &Arc<AtomicUsize>) -> Router<MessagePack> {
    let mutilated = mutilated.clone();
    echo().method("measure", move |body: String| {
        mutilated.fetch_add(usize::from(body.len() != WHOLE), Ordering::SeqCst);
        async { Ok(()) }
    })
}

/// Under load and repeated cuts, what was acknowledged was done, and what failed as unsent was not.
pub async fn no_acknowledged_call_is_lost_over_a_cut(stage: &Stage) -> Verdict {
    stage.require_hook(Hook::Sever)?;
    let tally = Arc::new(Tally::new());
    let server = stage.serve_within(Window::new(64), counting(&tally)).await?;
    call_over_cuts(stage, &tally).await?;
    let sum = tally.sum();
    let may_repeat = server.transport.capabilities().settlement;
    ensure!(
        may_repeat || sum.duplicated == 0,
        "what is never delivered again was done again: {sum}"
    );
    Ok(())
}

/// Where a server suppresses duplicates, no cut makes it carry out a request twice.
pub async fn suppressed_duplicate_is_run_once_whatever_is_cut(stage: &Stage) -> Verdict {
    stage.require("settlement", |can| can.settlement).await?;
    stage.require_hook(Hook::Sever)?;
    let tally = Arc::new(Tally::new());
    let remember = Deduplication::default();
    let server = stage.serve_as(counting(&tally), |server| server.deduplicate(remember)).await?;
    call_over_cuts(stage, &tally).await?;
    stage.note(format_args!(
        "{} came again and were answered from memory",
        server.handle.stats().duplicates
    ));
    let sum = tally.sum();
    ensure!(sum.duplicated == 0, "what one server remembers, it did again: {sum}");
    Ok(())
}

/// A service whose method `run` notes that it was run.
fn counting(tally: &Arc<Tally>) -> Router<MessagePack> {
    let runs = tally.clone();
    Router::new(MessagePack).method("run", move |id: u64| {
        runs.effect(id);
        async { Ok(()) }
    })
}

/// Calls from all sides while the link is cut again and again; what was acknowledged has to be
/// done.
async fn call_over_cuts(stage: &Stage, tally: &Tally) -> Verdict {
    let client = stage.client().await?;
    let over = AtomicBool::new(false);
    let load = join_all((0..16).map(|_| call_until(&over, &client, tally)));
    let ((), cut) = join(async { drop(load.await) }, async {
        let cut = cut_again_and_again(stage, tally).await;
        over.store(true, Ordering::Release);
        cut
    })
    .await;
    cut?;
    let sum = tally.sum();
    stage.note(sum);
    ensure!(sum.lost + sum.unexpected == 0, "what was promised and what was seen disagree: {sum}");
    Ok(())
}

/// Goes on calling until it is over, and keeps the books.
async fn call_until(over: &AtomicBool, client: &Client<MessagePack>, tally: &Tally) {
    while !over.load(Ordering::Acquire) {
        let id = tally.attempt();
        tally.end(id, End::of(&client.call::<()>("run", &id).await));
        // Memory and a link that is away answer at once, and the others have to have a turn.
        tokio::task::yield_now().await;
    }
}

/// Cuts each time that another 300 calls were answered.
async fn cut_again_and_again(stage: &Stage, tally: &Tally) -> Verdict {
    for n in 1..=5 {
        reaches("another 300 calls are answered", n * 300, || tally.sum().acknowledged).await?;
        stage.disturb(Hook::Sever).await?;
    }
    reaches("calls are answered after the last cut", 1_800, || tally.sum().acknowledged).await
}

/// Calls under a disturbance that lasts end by their deadline, and once it is healed, calls are
/// answered again.
pub(crate) async fn calls_end_by_their_deadline_under(stage: &Stage, hook: Hook) -> Verdict {
    const TIMEOUT: Duration = Duration::from_secs(2);
    stage.require_hook(hook)?;
    let _server = stage.serve(echo()).await?;
    let client = stage.client().await?;
    client.call::<u32>("echo", &1).await.or_fail("a call over a link that holds")?;
    stage.disturb(hook).await?;
    let start = Instant::now();
    let brief = client.with_timeout(TIMEOUT);
    for outcome in join_all((0..10).map(|_| brief.call::<u32>("echo", &1))).await {
        let disturbed =
            matches!(outcome, Err(CallError::DeadlineExceeded(_))) || is_cut_off(&outcome);
        ensure!(disturbed, "under the disturbance {hook}, a call ended with {outcome:?}");
    }
    let took = start.elapsed();
    ensure!(
        took < TIMEOUT + PATIENCE / 2,
        "under the disturbance {hook}, calls ended after {took:?}"
    );
    ensure!(
        client.stats().in_flight == 0,
        "{} calls are in flight in the end",
        client.stats().in_flight
    );
    stage.heal().await?;
    answered_again(&client).await
}

/// Calls until a call is answered, as a patient program does.
pub(crate) async fn answered_again(client: &Client<MessagePack>) -> Verdict {
    let brief = client.with_timeout(Duration::from_secs(2));
    let trying = async {
        while brief.call::<u32>("echo", &1).await.is_err() {
            // A link that is away may fail calls at once.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, trying).await.or_fail("after the disturbance, the server is reached again")
}

pub(crate) fn echo() -> Router<MessagePack> {
    Router::new(MessagePack).method("echo", |n: u32| async move { Ok(n) })
}

/// Whether a call failed because its connection did.
fn is_cut_off<T>(outcome: &Result<T, CallError>) -> bool {
    let kind = outcome.as_ref().err().and_then(CallError::kind);
    matches!(kind, Some(ErrorKind::Disconnected | ErrorKind::RepliesLost | ErrorKind::Unroutable))
}
