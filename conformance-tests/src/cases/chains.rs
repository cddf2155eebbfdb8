//! Calls that a handler makes to answer a call: their context, and their end.
//!
//! A client calls a front server, whose handler calls a back server. Both servers share a process
//! with the case, so that the case can read the times at which handlers start and stop.

mod best_duration;
mod chain;
mod handler_log;

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::Client;
use tokio::time::Instant;

use self::best_duration::BestDuration;
use self::chain::{Chain, FRONT, Seen, SeenByBack};
use crate::context::TestContext;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, in_time};

/// A call that a handler makes has the deadline and the context of the call that the handler
/// answers.
///
/// The remaining time at the back server lies between two measurements at the front server. Baggage
/// and the trace arrive; a plain header does not. The stack of calls names both methods.
///
/// The times are compared in milliseconds, with a slack of 20 ms for rounding. The call has a
/// timeout of 7 s.
///
/// Catches wires that lose headers, in which core carries the trace, the baggage and the stack of
/// calls.
pub async fn context_is_handed_on(context: &TestContext) -> Verdict {
    const TIMEOUT: Duration = Duration::from_secs(7);
    // The error by rounding, and by the time between two looks at the clock.
    const SLACK_MS: u64 = 20;
    let chain = Chain::open(context).await?;
    let request = chain.client.request("look").timeout(TIMEOUT).baggage("tenant", "zürich");
    let request = request.header("secret", "for the front").header("traceparent", TRACEPARENT);
    let seen: Seen = request.call(&()).await.or_fail("a call that makes another is answered")?;
    let Seen { before_ms, at_the_back: SeenByBack { remaining_ms, headers, calls }, after_ms } =
        seen;
    let within = after_ms.saturating_sub(SLACK_MS)..=before_ms + SLACK_MS;
    ensure!(
        within.contains(&remaining_ms),
        "the back server had {remaining_ms} ms left, and the front server {before_ms} ms before and {after_ms} ms after"
    );
    let expected = [Some("zürich".to_owned()), None, Some(TRACEPARENT.to_owned())];
    ensure!(
        headers == expected,
        "baggage, a header for the front server, and the trace came to the back server as {headers:?}"
    );
    let names: Vec<_> =
        calls.iter().map(|call| call.rsplit_once('.').map_or("", |(name, _)| name)).collect();
    ensure!(names.len() == 2, "the stack of calls at the back server is {calls:?}");
    ensure!(
        names[0].ends_with("look") && names[1].ends_with("look"),
        "the stack of calls is {calls:?}"
    );
    Ok(())
}

/// When a client cancels a call, its handler stops, and so do all handlers that it called, and no
/// others.
///
/// The last handler stops within 100 ms, in the best of up to 20 attempts. The call of another
/// client goes on.
///
/// Catches backends that never say that a call was abandoned, say so late, or say so of other calls
/// as well.
///
/// Needs the capability `cancellation`.
pub async fn abandoned_call_stops_the_whole_chain(context: &TestContext) -> Verdict {
    context.require("cancellation", |can| can.cancellation).await?;
    let chain = Chain::open(context).await?;
    let bystander = context.calling().await?;
    let bystander = in_time(Client::connect(&bystander, FRONT, MessagePack)).await?;
    // Longer than the whole case, so that no call ends by its deadline.
    let start = |client: &Client<_>| {
        client.request("wait").timeout(20 * PATIENCE).start::<()>(&()).or_fail("a call starts")
    };
    let (abandoned, kept) = (start(&chain.client)?, start(&bystander)?);
    eventually("both calls reach the back", || chain.back.handle.stats().running == 2).await?;

    drop(abandoned);
    eventually("the back stops", || chain.back.handle.stats().running == 1).await?;
    eventually("the front stops", || chain.front.handle.stats().running == 1).await?;
    for (name, end) in [("front", &chain.front), ("back", &chain.back)] {
        let stats = end.handle.stats();
        ensure!(
            stats.cancelled == 1,
            "at the {name} server, {} calls count as abandoned",
            stats.cancelled
        );
    }
    let looked = chain.client.call::<Seen>("look", &()).await;
    looked.or_fail("the next call of the same client is answered")?;

    let mut best = BestDuration::within(STOPS_WITHIN);
    while best.is_sought() {
        chain.clear();
        let abandoned = start(&chain.client)?;
        eventually("the call reaches the back", || chain.back_log.has_begun()).await?;
        let since = Instant::now();
        drop(abandoned);
        eventually("the whole chain stops", || chain.has_stopped()).await?;
        best.add(chain.stopped().and_then(|stopped| Some(stopped.into_iter().max()? - since)));
    }
    let took = best.least();
    context.note(format_args!(
        "the last handler of the chain stopped {took:?} after its call was dropped"
    ));
    ensure!(best.is_good(), "the chain stopped {took:?} after its call was dropped, at best");
    ensure!(!kept.is_finished(), "the call of another client ended with it");
    Ok(())
}

/// When the deadline of a call passes, all handlers that were called to answer it stop.
///
/// The deadlines along the chain differ by 20 ms at most, apart from the transit. The handlers stop
/// within 100 ms of each other. Both hold in the best of up to 20 attempts.
///
/// Catches backends that lengthen or restart a deadline on its way.
pub async fn deadline_stops_the_whole_chain(context: &TestContext) -> Verdict {
    let chain = Chain::open(context).await?;
    let mut best = BestDuration::within(SAME_DEADLINE);
    while best.is_sought() {
        chain.clear();
        let call = chain.client.request("look").timeout(PATIENCE);
        let begun = Instant::now();
        call.call::<Seen>(&()).await.or_fail("a call that makes another is answered")?;
        let deadlines = [chain.front_log.take().deadline, chain.back_log.take().deadline];
        let [Some(front), Some(back)] = deadlines else {
            return Err(Failure::new(format!("the deadlines along the chain are {deadlines:?}")));
        };
        let deadline = begun + PATIENCE;
        let apart =
            [front, back].map(|seen| seen.max(deadline) - seen.min(deadline)).into_iter().max();
        // A slow link would spoil every measurement. The requests were in transit for no longer
        // than the whole call took.
        let on_the_way = begun.elapsed().saturating_sub(SAME_DEADLINE);
        best.add(apart.map(|apart| apart.saturating_sub(on_the_way)));
    }
    let apart = best.least();
    context.note(format_args!("the deadline at the end of the chain was off by {apart:?}"));
    ensure!(best.is_good(), "the deadlines along the chain are {apart:?} apart, at best");

    let mut best = BestDuration::within(STOPS_WITHIN);
    while best.is_sought() {
        chain.clear();
        let call =
            chain.client.request("wait").timeout(Duration::from_millis(500)).start::<()>(&());
        let outcome = call.or_fail("a call starts")?.await;
        let given_up = Instant::now();
        ensure!(outcome.is_err(), "a call whose deadline has passed was answered");
        eventually("the front stops", || chain.front.handle.stats().running == 0).await?;
        eventually("the back stops", || chain.back.handle.stats().running == 0).await?;
        // On a busy machine, the call may time out before it has reached the back server.
        let stopped = chain.stopped().map(|[front, back]| [given_up, front, back]);
        best.add(stopped.and_then(|all| Some(*all.iter().max()? - *all.iter().min()?)));
    }
    let apart = best.least();
    ensure!(best.is_good(), "the handlers of the chain stopped {apart:?} apart, at best");
    Ok(())
}

/// The longest time between the stops of the handlers of a chain, and after the end of its call.
///
/// The best of several attempts counts, so that a busy machine does not fail a case.
const STOPS_WITHIN: Duration = Duration::from_millis(100);

/// The largest difference between the deadlines along a chain, beyond the transit of the requests.
const SAME_DEADLINE: Duration = Duration::from_millis(20);

/// The example of the W3C specification.
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
