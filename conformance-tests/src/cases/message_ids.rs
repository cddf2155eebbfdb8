//! Message ids: chosen or made by the sender, and the same for each delivery.

use polywire_codec::MessagePack;
use polywire_core::message::MessageId;
use polywire_core::{Context, DeadLetters, Job, Router, Window};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::receive::{next_event, next_job};
use super::retries::{dead_jobs, only, within_patience};
use crate::context::TestContext;
use crate::names::QUEUE;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, within};

/// The id that a caller chose arrives at its handler, and a call without one has an id of its own.
///
/// Checked with a call and with a one-way call, each with and without a chosen id. The chosen ids
/// are not ASCII, and as long as an id may be.
///
/// The four messages without a chosen id must have four different ones.
///
/// Catches backends that drop the id of a message.
pub async fn id_of_a_call_reaches_its_handler(context: &TestContext) -> Verdict {
    let (seen, mut sees) = mpsc::unbounded_channel();
    let router = Router::new(MessagePack).method("note", move |context: Context, (): ()| {
        let _ = seen.send(context.message_id());
        async { Ok(()) }
    });
    let _server = context.serve(router).await?;
    let client = context.client().await?;
    let long = "ß".repeat(MessageId::MAX / 2);
    let calls = || client.request("note").timeout(PATIENCE);
    calls().message_id(&*long).call::<()>(&()).await.or_fail("a call with an id")?;
    expect_id(&long, handled(&mut sees).await?, "a call")?;
    calls().message_id("order 7").send(&()).await.or_fail("a one-way call with an id")?;
    expect_id("order 7", handled(&mut sees).await?, "a one-way call")?;
    let mut made = Vec::new();
    for _ in 0..2 {
        calls().call::<()>(&()).await.or_fail("a call")?;
        made.push(handled(&mut sees).await?.or_fail("a call has an id")?);
        calls().send(&()).await.or_fail("a one-way call")?;
        made.push(handled(&mut sees).await?.or_fail("a one-way call has an id")?);
    }
    ensure_all_differ(&made)
}

/// The id that a pusher chose arrives with its job, and a job without one has an id of its own.
///
/// Catches backends that drop the id of a message.
///
/// Needs the capability `pipeline`.
pub async fn id_of_a_job_arrives(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let mut jobs = context.puller(Window::default()).await?;
    let pusher = context.pusher().await?;
    let chosen = pusher.with_message_id("order 7").or_fail("an id")?;
    chosen.push(&7_u32).await.or_fail("a push with an id")?;
    let job = next_job(&mut jobs).await?;
    expect_id("order 7", job.context().message_id(), "a job")?;
    job.ack();
    let mut made = Vec::new();
    for n in 0..3_u32 {
        pusher.push(&n).await.or_fail("a push")?;
        let job = next_job(&mut jobs).await?;
        made.push(job.context().message_id().or_fail("a job has an id")?);
        job.ack();
    }
    ensure_all_differ(&made)
}

/// An event has one id at each of its subscribers, which its publisher chose or made.
///
/// Catches backends that drop the id of a message.
///
/// Needs the capability `pubsub`.
pub async fn id_of_an_event_is_the_same_for_each_subscriber(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let mut one = context.subscriber::<u32>(["#"]).await?;
    let mut other = context.subscriber::<u32>(["a.*"]).await?;
    let publisher = context.publisher().await?;
    let chosen = publisher.with_message_id("order 7").or_fail("an id")?;
    chosen.publish("a.b", &7_u32).await.or_fail("an event with an id")?;
    for subscriber in [&mut one, &mut other] {
        let event = next_event(subscriber).await?;
        expect_id("order 7", event.context().message_id(), "an event")?;
    }
    let mut made = Vec::new();
    for n in 0..3_u32 {
        publisher.publish("a.b", &n).await.or_fail("an event")?;
        let (here, there) = (next_event(&mut one).await?, next_event(&mut other).await?);
        let (here, there) = (here.context().message_id(), there.context().message_id());
        ensure!(here == there, "one event has the ids {here:?} and {there:?}");
        made.push(here.or_fail("an event has an id")?);
    }
    ensure_all_differ(&made)
}

/// The id of a job is the same in each attempt, in its dead letter, and after its redrive.
///
/// Checked with a chosen id, and with one that the pusher made. The job is requeued, then
/// dead-lettered, then redriven.
///
/// Catches backends that make a new message for each attempt.
///
/// Needs the capabilities `pipeline`, `settlement` and `dead_letters`.
pub async fn id_of_a_job_stays_through_its_attempts(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("settlement", |can| can.settlement).await?;
    context.require("dead_letters", |can| can.dead_letters).await?;
    let mut jobs = context.puller(Window::default()).await?;
    let pusher = context.pusher().await?;
    let transport = context.serving().await?;
    let dead = DeadLetters::of_queue(&transport, QUEUE).or_fail("dead letters")?;
    let id_of = |job: &Job<u32>| job.context().message_id();
    for chosen in [Some("order 7"), None] {
        match chosen {
            Some(id) => pusher.with_message_id(id).or_fail("an id")?.push(&7_u32).await,
            None => pusher.push(&7_u32).await,
        }
        .or_fail("a push")?;
        let job = next_job(&mut jobs).await?;
        let first = id_of(&job).or_fail("a job has an id")?;
        expect_id(chosen.unwrap_or(first.as_str()), id_of(&job), "the first attempt")?;
        job.requeue().or_fail("requeuing")?;
        let job = next_job(&mut jobs).await?;
        expect_id(first.as_str(), id_of(&job), "the second attempt")?;
        job.dead_letter("no").or_fail("dead-lettering")?;
        let letter = only(dead_jobs(&transport, 1).await?)?;
        expect_id(first.as_str(), letter.message_id(), "the dead letter")?;
        within_patience(dead.redrive(9, |_| true)).await.or_fail("redriving")?;
        let job = next_job(&mut jobs).await?;
        expect_id(first.as_str(), id_of(&job), "the redriven job")?;
        job.ack();
    }
    Ok(())
}

/// Returns the id that the next handler got.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if no handler runs within 30 s.
async fn handled(sees: &mut UnboundedReceiver<Option<MessageId>>) -> Verdict<Option<MessageId>> {
    let seen = within(PATIENCE, "the handler runs in time", sees.recv()).await?;
    seen.or_fail("the handler runs")
}

/// Checks that a message came with the expected id. `of` names the message in the sentence of the
/// failure.
fn expect_id(expected: &str, came: Option<MessageId>, of: &str) -> Verdict {
    let came = came.map(|id| id.to_string());
    ensure!(
        came.as_deref() == Some(expected),
        "the id of {of} was {expected:?}, and came as {came:?}"
    );
    Ok(())
}

/// Checks that no two messages have one id.
fn ensure_all_differ(ids: &[MessageId]) -> Verdict {
    let differ = ids.iter().enumerate().all(|(at, id)| !ids[..at].contains(id));
    ensure!(differ, "different messages have one id: {ids:?}");
    Ok(())
}
