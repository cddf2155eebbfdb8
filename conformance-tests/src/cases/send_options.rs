//! Options of a single message: headers, and the time to live of jobs and events.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::{
    CallError, Context, DeadLetters, Error, ErrorKind, Headers, Router, Transport, Window,
};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::sleep;

use super::receive::{next_event, next_job};
use super::retries::{dead_jobs, only};
use super::services::echo;
use crate::context::TestContext;
use crate::names::QUEUE;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, within};

/// The headers of a call and of a one-way call arrive at the handler.
///
/// Catches backends that carry the headers of one kind of message only.
pub async fn headers_of_a_call_reach_its_handler(context: &TestContext) -> Verdict {
    let (seen, mut sees) = mpsc::unbounded_channel();
    let router = Router::new(MessagePack).method("note", move |context: Context, (): ()| {
        let _ = seen.send(context.headers);
        async { Ok(()) }
    });
    let _server = context.serve(router).await?;
    let client = context.client().await?;
    let call = || client.request("note").timeout(PATIENCE).header(NAME, VALUE).transient();
    call().call::<()>(&()).await.or_fail("a call with a header")?;
    expect_header(&handled(&mut sees).await?, "a call")?;
    call().send(&()).await.or_fail("a one-way call with a header")?;
    expect_header(&handled(&mut sees).await?, "a one-way call")
}

/// The headers of a job arrive at its puller: those of its pusher, and those of its push.
///
/// Catches backends that drop the headers of jobs.
///
/// Needs the capability `pipeline`.
pub async fn headers_of_a_job_arrive(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let mut jobs = context.puller(Window::default()).await?;
    let pusher = context.pusher().await?.with_header(NAME, VALUE).with_transient();
    let more = [("more", "1")].into_iter().collect();
    pusher.push_with(&7_u32, more).await.or_fail("a push with headers")?;
    let job = next_job(&mut jobs).await?;
    expect_header(&job.context().headers, "a job")?;
    let more = job.context().headers.get("more");
    ensure!(more == Some("1"), "the header of the push came as {more:?}");
    job.ack();
    Ok(())
}

/// The headers of an event arrive at its subscriber.
///
/// Catches backends that drop the headers of events.
///
/// Needs the capability `pubsub`.
pub async fn headers_of_an_event_arrive(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let mut events = context.subscriber::<u32>(["#"]).await?;
    let publisher = context.publisher().await?.with_header(NAME, VALUE).with_transient();
    publisher.publish("a.b", &7_u32).await.or_fail("an event with a header")?;
    let event = next_event(&mut events).await?;
    expect_header(&event.context().headers, "an event")
}

/// A header with the reserved prefix is refused by name, and nothing is sent.
///
/// Checked with a call, and with a job and an event where the backend has them. The next message of
/// each kind arrives.
///
/// Catches backends that send headers by which they lay out their messages.
pub async fn reserved_header_is_refused(context: &TestContext) -> Verdict {
    let name = format!("{}fault", Headers::RESERVED);
    let _server = context.serve(echo()).await?;
    let client = context.client().await?;
    let call = || client.request("echo").timeout(PATIENCE);
    let outcome = call().header(&*name, "x").call::<u32>(&1).await;
    let Err(CallError::Failed(error)) = outcome else {
        return Err(crate::Failure::new(format!("a call with {name} ended with {outcome:?}")));
    };
    expect_refusal(Err(error), &name, "a call")?;
    call().call::<u32>(&1).await.or_fail("the next call is answered")?;
    let can = context.calling().await?.capabilities();
    if can.pipeline {
        let mut jobs = context.puller(Window::default()).await?;
        let pusher = context.pusher().await?;
        expect_refusal(pusher.with_header(&*name, "x").push(&1_u32).await, &name, "a job")?;
        pusher.push(&2_u32).await.or_fail("the next push")?;
        let job = next_job(&mut jobs).await?;
        ensure!(*job == 2, "the refused job arrived");
        job.ack();
    }
    if can.pubsub {
        let mut events = context.subscriber::<u32>(["#"]).await?;
        let publisher = context.publisher().await?;
        let refused = publisher.with_header(&*name, "x").publish("a", &1_u32).await;
        expect_refusal(refused, &name, "an event")?;
        publisher.publish("a", &2_u32).await.or_fail("the next event")?;
        let event = next_event(&mut events).await?;
        ensure!(*event == 2, "the refused event arrived");
    }
    Ok(())
}

/// A job that has not begun within its time to live never runs.
///
/// It waits behind a job that occupies the only place of the puller, until its second has passed. A
/// job with a time to live of a minute waits behind it, and arrives without a deadline.
///
/// Catches backends that lose the time to live, or count it anew when the job arrives.
///
/// Needs the capability `pipeline`.
pub async fn expired_job_never_runs(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let mut jobs = context.puller(Window::new(1)).await?;
    let pusher = context.pusher().await?;
    pusher.push(&1_u32).await.or_fail("a push")?;
    let first = next_job(&mut jobs).await?;
    pusher.with_ttl(TTL).push(&13_u32).await.or_fail("a push with a time to live")?;
    pusher.with_ttl(PATIENCE * 2).push(&14_u32).await.or_fail("a push with a long time")?;
    sleep(TTL + TRANSIT_MAX).await;
    first.ack();
    let job = next_job(&mut jobs).await?;
    ensure!(*job == 14, "the job {} came instead of 14", *job);
    let deadline = job.context().deadline;
    ensure!(deadline.is_none(), "the handler of the job sees a deadline");
    job.ack();
    Ok(())
}

/// A job that asks for it becomes a dead letter when it expires, or is refused as unsupported.
///
/// As [`expired_job_never_runs`], with `with_keep_expired`. The dead letter has the reason
/// `expired`.
///
/// Catches backends whose broker removes such a job.
///
/// Needs the capability `pipeline`.
pub async fn expired_job_is_kept_if_it_asks(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let mut jobs = context.puller(Window::new(1)).await?;
    let pusher = context.pusher().await?;
    let kept = pusher.with_ttl(TTL).with_keep_expired();
    let transport = context.serving().await?;
    if DeadLetters::of_queue(&transport, QUEUE).is_err() {
        let pushed = kept.push(&13_u32).await;
        let is_refused = matches!(&pushed, Err(e) if e.kind() == ErrorKind::Unsupported);
        ensure!(is_refused, "without dead letters, the push ended with {pushed:?}");
        return Ok(());
    }
    pusher.push(&1_u32).await.or_fail("a push")?;
    let first = next_job(&mut jobs).await?;
    kept.push(&13_u32).await.or_fail("a push with a time to live")?;
    pusher.push(&14_u32).await.or_fail("a push")?;
    sleep(TTL + TRANSIT_MAX).await;
    first.ack();
    let job = next_job(&mut jobs).await?;
    ensure!(*job == 14, "the job {} came instead of 14", *job);
    job.ack();
    let letter = only(dead_jobs(&transport, 1).await?)?;
    let reason = letter.reason();
    ensure!(reason == DeadLetterReason::Expired, "the reason of the dead letter is {reason:?}");
    Ok(())
}

/// An event that its subscriber has not taken within its time to live is dropped.
///
/// The subscriber does not read for two seconds. An event with a time to live of a minute arrives
/// after that.
///
/// Catches backends that lose the time to live, or count it anew when the event arrives.
///
/// Needs the capability `pubsub`.
pub async fn expired_event_is_dropped(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let mut events = context.subscriber::<u32>(["#"]).await?;
    let publisher = context.publisher().await?;
    publisher.with_ttl(TTL).publish("a", &13_u32).await.or_fail("an event")?;
    publisher.with_ttl(PATIENCE * 2).publish("a", &14_u32).await.or_fail("an event")?;
    sleep(TTL + TRANSIT_MAX).await;
    let event = next_event(&mut events).await?;
    ensure!(*event == 14, "the event {} came instead of 14", *event);
    Ok(())
}

/// Returns the headers that the next handler got.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if no handler runs within 30 s.
async fn handled(sees: &mut UnboundedReceiver<Headers>) -> Verdict<Headers> {
    let seen = within(PATIENCE, "the handler runs in time", sees.recv()).await?;
    seen.or_fail("the handler runs")
}

/// Checks that the header of these cases arrived. `of` names the message in the sentence of the
/// failure.
fn expect_header(headers: &Headers, of: &str) -> Verdict {
    let came = headers.get(NAME);
    ensure!(came == Some(VALUE), "the header of {of} came as {came:?}");
    Ok(())
}

/// Checks that a message was refused before it was sent, by an error that names the header.
fn expect_refusal(outcome: Result<(), Error>, name: &str, of: &str) -> Verdict {
    let Err(error) = outcome else {
        return Err(crate::Failure::new(format!("{of} with {name} was sent")));
    };
    let is_refusal = error.kind() == ErrorKind::Config && error.is_unsent();
    ensure!(is_refusal, "{of} with {name} failed as {error:?}");
    let said = error.detail("header");
    ensure!(said == Some(name), "the error of {of} names the header {said:?}");
    Ok(())
}

const NAME: &str = "größe";
const VALUE: &str = "目";
/// The time to live of the messages that expire.
const TTL: Duration = Duration::from_secs(1);
/// The longest transit of a message, on a machine that is busy with something else.
const TRANSIT_MAX: Duration = Duration::from_secs(1);
