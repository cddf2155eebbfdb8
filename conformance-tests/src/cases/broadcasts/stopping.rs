//! Handlers of broadcasts that stop, and instances that drain and leave.

use std::sync::Arc;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::broadcast::{GatherReason, InstanceOutcome};
use polywire_core::{Router, Service};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::running_instance::{RunningInstance, broadcaster, closed, know};
use crate::cases::services::gated;
use crate::context::TestContext;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, in_time};

/// When a gathering is dropped, the handler of each instance is stopped well before the deadline.
///
/// Catches backends that lose the cancel of a broadcast.
///
/// Needs the capability `pubsub`.
pub async fn dropped_gathering_stops_every_handler(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let (noting, mut notes) = mpsc::unbounded_channel();
    let _one = RunningInstance::start(context, "one", noted(&noting)).await?;
    let _two = RunningInstance::start(context, "two", noted(&noting)).await?;
    let shops = broadcaster(context, 2).await?;
    let request = shops.request("wait").timeout(PATIENCE * 2);
    let gathering = in_time(request.gather::<u32>(&1_u32)).await?;
    expect_notes(&mut notes, "begun", "each instance begins").await?;
    drop(gathering);
    expect_notes(&mut notes, "stopped", "each instance stops its handler").await
}

/// When the time of a gathering has passed, the handler of each instance is stopped.
///
/// Catches backends that lose the deadline of an event.
///
/// Needs the capability `pubsub`.
pub async fn deadline_stops_every_handler(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let (noting, mut notes) = mpsc::unbounded_channel();
    let _one = RunningInstance::start(context, "one", noted(&noting)).await?;
    let _two = RunningInstance::start(context, "two", noted(&noting)).await?;
    let shops = broadcaster(context, 2).await?;
    let request = shops.request("wait").timeout(Duration::from_secs(2));
    let (outcomes, end) = in_time(request.gather::<u32>(&1_u32)).await?.all().await;
    ensure!(outcomes.is_empty(), "no instance was due to answer: {outcomes:?}");
    ensure!(end.reason == GatherReason::Deadline, "the gathering ended as {end:?}");
    expect_notes(&mut notes, "begun", "each instance begins").await?;
    expect_notes(&mut notes, "stopped", "each instance stops its handler").await
}

/// An instance that drains finishes what it runs, and its outcome arrives. Later broadcasts do not
/// wait for it.
///
/// Catches backends that lose the announcement of a drain, or outcomes.
///
/// Needs the capability `pubsub`.
pub async fn draining_instance_finishes(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let gate = Arc::new(Semaphore::new(0));
    let draining = RunningInstance::start(context, "draining", gated(&gate)).await?;
    let open = Arc::new(Semaphore::new(1_000));
    let _other = RunningInstance::start(context, "other", gated(&open)).await?;
    let shops = broadcaster(context, 2).await?;
    let request = || shops.request("wait").timeout(PATIENCE * 2);
    let gathering = in_time(request().gather::<u32>(&1_u32)).await?;
    eventually("the draining instance runs", || draining.handle.stats().running == 1).await?;
    let handle = draining.handle.clone();
    let drain = tokio::spawn(async move { handle.drain().await });
    know(&shops, 1).await?;
    let (outcomes, end) = in_time(request().gather::<u32>(&2_u32)).await?.all().await;
    let others = outcomes.iter().all(|gathered| gathered.instance.id() == "other");
    ensure!(
        others && outcomes.len() == 1 && end.reason == GatherReason::Complete,
        "the later broadcast ended as {end:?}: {outcomes:?}"
    );
    gate.add_permits(1);
    let (outcomes, end) = gathering.all().await;
    let replies = outcomes.iter().filter(|gathered| gathered.outcome.is_reply()).count();
    ensure!(
        replies == 2 && end.reason == GatherReason::Complete,
        "both instances were due to answer: {outcomes:?}, {end:?}"
    );
    timeout(PATIENCE, drain).await.or_fail("the drain ends")?.or_fail("the drain ends")
}

/// An instance that ends while it runs a broadcast is reported as gone at once, by its leave, and
/// the gathering goes on without it.
///
/// The instance announces itself once an hour, so that its silence alone would not end the wait.
///
/// Catches backends that lose the last event of a publisher.
///
/// Needs the capability `pubsub`.
pub async fn leaving_instance_is_gone(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let leaving = RunningInstance::start(context, "leaving", gated(&closed())).await?;
    let gate = Arc::new(Semaphore::new(0));
    let _other = RunningInstance::start(context, "other", gated(&gate)).await?;
    let shops = broadcaster(context, 2).await?;
    let request = shops.request("wait").timeout(PATIENCE * 2);
    let mut gathering = in_time(request.gather::<u32>(&1_u32)).await?;
    eventually("the leaving instance runs", || leaving.handle.stats().running == 1).await?;
    drop(leaving);
    let first =
        timeout(PATIENCE, gathering.next()).await.or_fail("the instance is gone in time")?;
    let first = first.or_fail("an outcome")?;
    ensure!(
        first.instance.id() == "leaving" && matches!(first.outcome, InstanceOutcome::Gone),
        "the leaving instance was due to be gone, and {first:?} came"
    );
    gate.add_permits(1);
    let (outcomes, end) = gathering.all().await;
    ensure!(
        outcomes.len() == 1 && end.reason == GatherReason::Complete,
        "the other instance was due to answer: {outcomes:?}, {end:?}"
    );
    Ok(())
}

/// A service whose method `wait` never ends, and notes that it has begun and that it was stopped.
fn noted(noting: &mpsc::UnboundedSender<&'static str>) -> impl Service + use<> {
    let noting = noting.clone();
    Router::new(MessagePack).method("wait", move |_: u32| {
        let stopped = NoteOnDrop(noting.clone());
        async move {
            let _ = stopped.0.send("begun");
            std::future::pending::<()>().await;
            drop(stopped);
            Ok(0_u32)
        }
    })
}

/// A guard of a handler, which notes that the handler was stopped.
struct NoteOnDrop(mpsc::UnboundedSender<&'static str>);

impl Drop for NoteOnDrop {
    fn drop(&mut self) {
        let _ = self.0.send("stopped");
    }
}

/// Receives this note of both instances.
async fn expect_notes(
    notes: &mut mpsc::UnboundedReceiver<&'static str>,
    due: &str,
    what: &str,
) -> Verdict {
    for _ in 0..2 {
        let note = timeout(PATIENCE, notes.recv()).await.or_fail(what)?.or_fail(what)?;
        ensure!(note == due, "{what}: {note}");
    }
    Ok(())
}
