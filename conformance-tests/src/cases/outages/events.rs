//! Events over links that are cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join;
use polywire_codec::MessagePack;
use polywire_core::{Group, Publisher, Subscriber};

use super::cuts::{cut_again_and_again, nothing_is_lost, outcome_of};
use super::recovery::{BRIEF, events_flow_again};
use crate::cases::task::AbortOnDrop;
use crate::context::TestContext;
use crate::hook::Hook;
use crate::names::CHANNEL;
use crate::operation_log::OperationLog;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::in_time;

/// After a cut, an open subscriber gets the events of its current filters again, and no others.
///
/// Its filters have changed since it was bound, and the link is cut three times. Events that were
/// published while the link was away may be missing.
///
/// Catches backends that subscribe again with the filters that were asked for first.
///
/// Needs the capability `pubsub` and the hook `sever`.
pub async fn subscriber_receives_again_after_a_cut(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    context.require_hook(Hook::Sever)?;
    let mut subscriber: Subscriber<u32> = context.subscriber(["a.*"]).await?;
    let transport = context.calling().await?;
    let publisher =
        in_time(Publisher::connect(&transport, CHANNEL, MessagePack).timeout(BRIEF)).await?;
    in_time(subscriber.filters().add("b.*")).await?;
    in_time(subscriber.filters().remove("a.*")).await?;
    for round in 0..3_u32 {
        context.disturb(Hook::Sever).await?;
        events_flow_again(&publisher, &mut subscriber, round).await?;
    }
    Ok(())
}

/// Under repeated cuts, each publish ends, and every acknowledged event reaches the durable group.
///
/// One task publishes while the link is cut after every 200 acknowledged events, five times.
///
/// Catches confirms that are taken for granted when the link is cut.
///
/// Needs the capabilities `durable_groups` and `durable` and the hook `sever`.
pub async fn no_acknowledged_event_is_lost_over_a_cut(context: &TestContext) -> Verdict {
    context.require("durable_groups", |can| can.durable_groups).await?;
    context.require("durable", |can| can.durable).await?;
    context.require_hook(Hook::Sever)?;
    let log = Arc::new(OperationLog::new());
    let group = Group::new("careful").or_fail("a group")?.durable();
    let transport = context.serving().await?;
    let mut events: Subscriber<u64> =
        in_time(Subscriber::bind(&transport, CHANNEL, MessagePack).group(group)).await?;
    let seen = log.clone();
    let _reading = AbortOnDrop::new(tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Ok(event) = event {
                seen.effect(*event);
                event.ack();
            }
        }
    }));
    publish_over_cuts(context, &context.publisher().await?, &log, 5).await?;
    nothing_is_lost(context, &log).await
}

/// Publishes while the link is cut this many times, and logs each outcome.
async fn publish_over_cuts(
    context: &TestContext,
    publisher: &Publisher<MessagePack>,
    log: &OperationLog,
    times: u32,
) -> Verdict {
    let over = AtomicBool::new(false);
    let load = async {
        while !over.load(Ordering::Acquire) {
            let id = log.attempt();
            log.finish(id, outcome_of(&publisher.publish("a", &id).await));
            // Publishing may end at once, in memory. Other tasks need a turn.
            tokio::task::yield_now().await;
        }
    };
    let ((), cut) = join(load, async {
        let cut = cut_again_and_again(context, log, times).await;
        over.store(true, Ordering::Release);
        cut
    })
    .await;
    cut
}

/// Over repeated cuts, every acknowledged event reaches a subscriber of its own, or the subscriber
/// learns that events may be missing.
///
/// One task publishes while the link is cut after every 200 acknowledged events, twice. The
/// subscriber reads all the time. An error of its stream is the report: the note of the case has
/// the numbers of lost events and of reports.
///
/// Catches subscribers that subscribe again in silence.
///
/// Needs the capabilities `pubsub` and `loss_reports` and the hook `sever`.
pub async fn event_of_a_cut_arrives_or_is_reported(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    context.require("loss_reports", |can| can.loss_reports).await?;
    context.require_hook(Hook::Sever)?;
    let log = Arc::new(OperationLog::new());
    let mut events: Subscriber<u64> = context.subscriber(["#"]).await?;
    let reports = Arc::new(AtomicUsize::new(0));
    let (seen, reported) = (log.clone(), reports.clone());
    let _reading = AbortOnDrop::new(tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => seen.effect(*event),
                Err(_) => drop(reported.fetch_add(1, Ordering::SeqCst)),
            }
        }
    }));
    let transport = context.calling().await?;
    let publisher = Publisher::connect(&transport, CHANNEL, MessagePack).timeout(BRIEF);
    publish_over_cuts(context, &in_time(publisher).await?, &log, 2).await?;
    let ended = nothing_is_lost(context, &log).await;
    let (reports, summary) = (reports.load(Ordering::SeqCst), log.summary());
    context.note(format_args!("{} events lost, {reports} reports", summary.lost));
    ensure!(summary.unexpected == 0, "the outcomes and the effects disagree: {summary}");
    if reports > 0 { Ok(()) } else { ended }
}
