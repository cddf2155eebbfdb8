//! Instances that join, leave and crash, as a broadcaster sees them.

use std::sync::Arc;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::Transport;
use polywire_core::broadcast::{
    Broadcaster, GatherReason, InstanceChange, InstanceChanges, InstanceOutcome,
};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::running_instance::{NO_HEARTBEAT, RunningInstance, broadcaster, closed, know};
use crate::cases::services::{echo, gated};
use crate::context::TestContext;
use crate::hook::Hook;
use crate::names::SERVICE;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, in_time};

/// A broadcaster learns of an instance that joins, that drains and that leaves, in this order, and
/// lists the ones that are there.
///
/// The broadcaster is there first. The instance announces itself once an hour, so each change is
/// an announcement of its own.
///
/// Catches backends that lose events.
///
/// Needs the capability `pubsub`.
pub async fn instances_come_and_go(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let transport = context.serving().await?;
    let shops = in_time(Broadcaster::connect(&transport, SERVICE, MessagePack)).await?;
    let mut changes = shops.changes();
    // The instance opens the other side, as it comes later.
    let (gate, transport) = (Arc::new(Semaphore::new(0)), context.calling().await?);
    let instance = RunningInstance::start_on(transport, "late", NO_HEARTBEAT, gated(&gate)).await?;
    let joined = next(&mut changes, "the instance joins").await?;
    ensure!(
        matches!(&joined, InstanceChange::Joined(joined) if joined.id() == "late"),
        "the instance was due to join: {joined:?}"
    );
    know(&shops, 1).await?;
    let _running = in_time(shops.request("wait").gather::<u32>(&1_u32)).await?;
    eventually("the instance runs", || instance.handle.stats().running == 1).await?;
    let handle = instance.handle.clone();
    let drain = tokio::spawn(async move { handle.drain().await });
    let draining = next(&mut changes, "the instance drains").await?;
    ensure!(
        matches!(&draining, InstanceChange::Draining(draining) if draining.id() == "late"),
        "the instance was due to drain: {draining:?}"
    );
    know(&shops, 0).await?;
    gate.add_permits(1);
    timeout(PATIENCE, drain).await.or_fail("the drain ends")?.or_fail("the drain ends")?;
    let left = next(&mut changes, "the instance leaves").await?;
    ensure!(
        matches!(&left, InstanceChange::Left(left) if left.id() == "late"),
        "the instance was due to leave: {left:?}"
    );
    Ok(())
}

/// An instance that ends without a leave is gone after two heartbeats, while another one that
/// lives is waited for.
///
/// Its transport is closed while it runs a broadcast.
///
/// Catches backends whose closed transports go on.
///
/// Needs the capability `pubsub`.
pub async fn crashed_instance_is_gone(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let (heartbeat, transport) = (Duration::from_secs(1), context.serving().await?);
    let gate = closed();
    let crashing =
        RunningInstance::start_on(transport, "crashing", heartbeat, gated(&gate)).await?;
    let gate = Arc::new(Semaphore::new(0));
    let _other = RunningInstance::start(context, "other", gated(&gate)).await?;
    let shops = broadcaster(context, 2).await?;
    let request = shops.request("wait").timeout(PATIENCE * 2);
    let mut gathering = in_time(request.gather::<u32>(&1_u32)).await?;
    eventually("the crashing instance runs", || crashing.handle.stats().running == 1).await?;
    in_time(crashing.transport.close()).await?;
    let first =
        timeout(PATIENCE, gathering.next()).await.or_fail("the instance is gone in time")?;
    let first = first.or_fail("an outcome")?;
    ensure!(
        first.instance.id() == "crashing" && matches!(first.outcome, InstanceOutcome::Gone),
        "the crashed instance was due to be gone, and {first:?} came"
    );
    gate.add_permits(1);
    let (outcomes, end) = gathering.all().await;
    ensure!(
        outcomes.len() == 1 && end.reason == GatherReason::Complete,
        "the other instance was due to answer: {outcomes:?}, {end:?}"
    );
    Ok(())
}

/// After a cut, an open broadcaster reaches its instances again, and gets their outcomes.
///
/// Broadcasts are repeated until one is complete, since some may be lost with the link.
///
/// Catches backends whose subscriptions end with the link.
///
/// Needs the capability `pubsub` and the hook `sever`.
pub async fn gathers_again_after_a_cut(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    context.require_hook(Hook::Sever)?;
    let _instance = RunningInstance::start(context, "a", echo()).await?;
    let shops = broadcaster(context, 1).await?;
    let request = || shops.request("echo").expect(["a"]).timeout(Duration::from_secs(1));
    context.disturb(Hook::Sever).await?;
    let again = async {
        loop {
            if let Ok(gathering) = request().gather::<u32>(&7_u32).await
                && gathering.all().await.1.reason == GatherReason::Complete
            {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, again).await.or_fail("a gathering is complete after the cut")
}

async fn next(changes: &mut InstanceChanges, what: &str) -> Verdict<InstanceChange> {
    timeout(PATIENCE, changes.next()).await.or_fail(what)?.or_fail(what)
}
