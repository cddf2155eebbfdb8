//! The reasons for which a gathering ends.

use std::sync::Arc;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::broadcast::{GatherEnd, GatherReason};
use polywire_core::{Fault, Router};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::running_instance::{RunningInstance, broadcaster, closed};
use crate::cases::services::gated;
use crate::context::TestContext;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, in_time};

/// A gathering ends by its timeout, and names the instances that were silent: one that is too slow,
/// one that does not answer, and one that the caller named and that does not exist.
///
/// Catches backends that lose outcomes.
///
/// Needs the capability `pubsub`.
pub async fn silent_instances_are_named(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let silent = async |_: u32| Err::<u32, _>(Fault::silent());
    let _silent =
        RunningInstance::start(context, "silent", Router::new(MessagePack).method("wait", silent))
            .await?;
    let _slow = RunningInstance::start(context, "slow", gated(&closed())).await?;
    let open = Arc::new(Semaphore::new(2));
    let _quick = RunningInstance::start(context, "quick", gated(&open)).await?;
    let shops = broadcaster(context, 3).await?;
    let request = || shops.request("wait").timeout(SHORT);
    let (outcomes, end) = in_time(request().gather::<u32>(&1_u32)).await?.all().await;
    let ids: Vec<_> = outcomes.iter().map(|gathered| gathered.instance.id()).collect();
    ensure!(ids == ["quick"], "one instance was due to answer, and {ids:?} did");
    expect_end(&end, &GatherReason::Deadline, &["silent", "slow"])?;
    let expecting = request().expect(["quick", "absent"]);
    let (outcomes, end) = in_time(expecting.gather::<u32>(&1_u32)).await?.all().await;
    ensure!(outcomes.len() == 1, "one instance was due to answer, and {} did", outcomes.len());
    expect_end(&end, &GatherReason::Deadline, &["absent"])
}

/// A gathering ends after a number of outcomes, after a number of replies, and when the next
/// outcome takes too long; each ends well before the timeout.
///
/// Two instances answer, and one waits. The gap does not count before the first outcome.
///
/// Catches backends that lose outcomes.
///
/// Needs the capability `pubsub`.
pub async fn count_quorum_and_gap_end_a_gathering(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let open = Arc::new(Semaphore::new(1_000));
    let _quick = RunningInstance::start(context, "quick", gated(&open)).await?;
    let _slow = RunningInstance::start(context, "slow", gated(&closed())).await?;
    let declining = async |_: u32| Err::<u32, _>(Fault::declined("not here"));
    let declining = Router::new(MessagePack).method("wait", declining);
    let _declining = RunningInstance::start(context, "declining", declining).await?;
    let shops = broadcaster(context, 3).await?;
    let request = || shops.request("wait").timeout(PATIENCE * 2);
    for (request, due, reason) in [
        (request().count(2), 2, GatherReason::Count),
        (request().quorum(1), 2, GatherReason::Quorum),
        (request().gap(SHORT), 2, GatherReason::Stalled),
    ] {
        let gathering = in_time(request.gather::<u32>(&1_u32)).await?;
        let ended = timeout(PATIENCE, gathering.all()).await;
        let (outcomes, end) = ended.or_fail(&format!("a gathering ends as {reason:?}"))?;
        let replies = outcomes.iter().filter(|gathered| gathered.outcome.is_reply()).count();
        ensure!(replies == 1, "one reply was due, and {replies} came");
        ensure!(outcomes.len() <= due, "{due} outcomes were due, and {} came", outcomes.len());
        ensure!(end.reason == reason, "a gathering was due to end as {reason:?}: {end:?}");
        let names_slow = end.silent.iter().any(|silent| silent.id() == "slow");
        ensure!(names_slow, "the slow instance is not named: {end:?}");
    }
    Ok(())
}

/// A broadcast without an instance succeeds, and its gathering ends soon, with that reason.
///
/// Catches backends whose publishers fail without a subscriber.
///
/// Needs the capability `pubsub`.
pub async fn nobody_there_is_known(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let shops = broadcaster(context, 0).await?;
    let gathering =
        in_time(shops.request("wait").timeout(PATIENCE * 2).gather::<u32>(&1_u32)).await?;
    let (outcomes, end) =
        timeout(PATIENCE, gathering.all()).await.or_fail("the gathering ends in time")?;
    ensure!(outcomes.is_empty(), "no instance is there, and {} answered", outcomes.len());
    expect_end(&end, &GatherReason::NobodyThere, &[])
}

/// The timeout of a gathering that is due to pass.
const SHORT: Duration = Duration::from_millis(700);

fn expect_end(end: &GatherEnd, reason: &GatherReason, silent: &[&str]) -> Verdict {
    let ids: Vec<_> = end.silent.iter().map(polywire_core::Instance::id).collect();
    ensure!(
        end.reason == *reason && ids == silent,
        "a gathering was due to end as {reason:?} without {silent:?}, and ended as {end:?}"
    );
    Ok(())
}
