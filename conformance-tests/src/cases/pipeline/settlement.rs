//! The settlement of jobs: acknowledged, discarded, requeued, or left behind by a dead worker.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{ErrorKind, Job, Puller, Pusher, Transport, Window};

use crate::cases::receive::next_job;
use crate::context::TestContext;
use crate::names::QUEUE;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::in_time;

/// A job that is dropped unsettled is redelivered, and marked so.
///
/// The redelivery is marked by [`Context::is_redelivered`](polywire_core::Context::is_redelivered).
///
/// Catches receipts that do nothing when they are dropped.
///
/// Needs the capabilities `pipeline` and `settlement`.
pub async fn dropped_job_is_requeued(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("settlement", |can| can.settlement).await?;
    let mut jobs = context.puller(Window::new(1)).await?;
    context.pusher().await?.push(&7_u32).await.or_fail("a push")?;
    drop(next_job(&mut jobs).await?);
    let again = next_job(&mut jobs).await?;
    ensure!(*again == 7, "the job 7 was dropped, and {} came", *again);
    ensure!(again.context().is_redelivered(), "a redelivered job is not marked so");
    again.ack();
    Ok(())
}

/// Each requeue is one more attempt.
///
/// Checked for four attempts.
///
/// Catches queues that mark redeliveries without counting them.
///
/// Needs the capabilities `pipeline`, `settlement` and `attempts`.
pub async fn requeued_job_counts_its_attempts(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("settlement", |can| can.settlement).await?;
    context.require("attempts", |can| can.attempts).await?;
    let mut jobs = context.puller(Window::new(4)).await?;
    context.pusher().await?.push(&7_u32).await.or_fail("a push")?;
    for attempt in 1..=4 {
        let job = next_job(&mut jobs).await?;
        let counted = job.context().attempt;
        ensure!(counted == attempt, "attempt {attempt} counts as number {counted}");
        job.requeue().or_fail("a requeue")?;
    }
    next_job(&mut jobs).await?.ack();
    Ok(())
}

/// A job that was acknowledged or discarded is never redelivered, even if its worker ends.
///
/// The puller is dropped after the settlement. The next puller must get the next job first.
///
/// Catches pullers that end without sending the outcomes in their buffer.
///
/// Needs the capabilities `pipeline` and `settlement`.
pub async fn settled_job_is_gone(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("settlement", |can| can.settlement).await?;
    let mut jobs = context.puller(Window::new(4)).await?;
    let pusher = context.pusher().await?;
    for n in 0..2_u32 {
        pusher.push(&n).await.or_fail("a push")?;
    }
    next_job(&mut jobs).await?.ack();
    next_job(&mut jobs).await?.discard();
    drop(jobs);
    let mut other = context.puller(Window::new(4)).await?;
    pusher.push(&2_u32).await.or_fail("a push")?;
    let job = next_job(&mut other).await?;
    ensure!(*job == 2, "the settled job {} was redelivered", *job);
    job.ack();
    Ok(())
}

/// The jobs that a worker held when it died go to another worker.
///
/// The worker dies with four unsettled jobs. They arrive marked as redelivered.
///
/// Catches redeliveries without a mark, and closing that takes unsettled jobs along.
///
/// Needs the capabilities `pipeline` and `settlement`.
pub async fn jobs_of_a_dead_worker_go_on(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("settlement", |can| can.settlement).await?;
    let dying = context.serving().await?;
    let mut jobs: Puller<u32> =
        in_time(Puller::bind(&dying, QUEUE, MessagePack).window(Window::new(4))).await?;
    let pusher = context.pusher().await?;
    for n in 0..4_u32 {
        pusher.push(&n).await.or_fail("a push")?;
    }
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(next_job(&mut jobs).await?);
    }
    in_time(dying.close()).await?;
    drop(held);
    let mut other = context.puller(Window::new(4)).await?;
    let mut received = Vec::new();
    for _ in 0..4 {
        let job = next_job(&mut other).await?;
        ensure!(
            job.context().is_redelivered(),
            "a job of a dead worker is not marked as redelivered"
        );
        received.push(*job);
        job.ack();
    }
    received.sort_unstable();
    ensure!(
        received == [0, 1, 2, 3],
        "of the jobs 0 to 3 of a dead worker, the other one got {received:?}"
    );
    Ok(())
}

/// A worker holds no more jobs than its window; the rest goes to others.
///
/// A puller with a window of 2 holds two jobs. The third goes to another puller.
///
/// Catches buffers beside the window.
///
/// Needs the capabilities `pipeline` and `settlement`.
pub async fn window_bounds_the_jobs_taken(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("settlement", |can| can.settlement).await?;
    let mut narrow = context.puller(Window::new(2)).await?;
    let pusher = context.pusher().await?;
    for n in 0..3_u32 {
        pusher.push(&n).await.or_fail("a push")?;
    }
    let held = [next_job(&mut narrow).await?, next_job(&mut narrow).await?];
    let mut wide = context.puller(Window::new(9)).await?;
    let third = tokio::select! {
        biased;
        _ = next_job(&mut narrow) => return Err(Failure::new("a third job came through a window of two")),
        third = next_job(&mut wide) => third?,
    };
    ensure!(
        held.iter().all(|job| **job != *third),
        "job {} was held by one puller, and went to another, too",
        *third
    );
    third.ack();
    held.into_iter().for_each(Job::ack);
    Ok(())
}

/// For a worker that does not read, each push waits or is kept: every job whose push succeeded
/// arrives.
///
/// Jobs of 1 KiB are pushed, with a timeout of 500 ms, until a push times out or 5,000 were pushed.
/// All of them arrive in order.
///
/// Catches queues that drop jobs when they are full, instead of letting the push wait.
///
/// Needs the capability `pipeline`.
pub async fn worker_that_does_not_read_loses_nothing(context: &TestContext) -> Verdict {
    const MOST: u32 = 5_000;
    context.require("pipeline", |can| can.pipeline).await?;
    let serving = context.serving().await?;
    let mut jobs: Puller<(u32, String)> =
        in_time(Puller::bind(&serving, QUEUE, MessagePack).window(Window::new(8))).await?;
    let transport = context.calling().await?;
    let pusher = in_time(
        Pusher::connect(&transport, QUEUE, MessagePack).timeout(Duration::from_millis(500)),
    )
    .await?;
    let body = "x".repeat(1 << 10);
    let mut pushed = 0;
    while pushed < MOST {
        match pusher.push(&(pushed, &body)).await {
            Ok(()) => pushed += 1,
            Err(error) if error.kind() == ErrorKind::DeadlineExceeded => break,
            Err(error) => {
                return Err(Failure::new(format!("a push to a busy worker failed as {error:?}")));
            }
        }
    }
    for expected in 0..pushed {
        let lost = || {
            Failure::new(format!("of {pushed} jobs whose push succeeded, job {expected} is lost"))
        };
        let job = next_job(&mut jobs).await.map_err(|_| lost())?;
        if job.0 != expected {
            return Err(lost());
        }
        job.ack();
    }
    Ok(())
}
