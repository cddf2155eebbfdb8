//! Attempts of jobs: delayed retries, and dead letters after the last one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::{Code, Context, Fault, Puller, Retries, Transport, Window, Worker};
use tokio::time::Instant;

use super::dead_jobs::{PAUSE, dead_jobs, only};
use crate::cases::receive::next_job;
use crate::cases::task::AbortOnDrop;
use crate::context::TestContext;
use crate::names::QUEUE;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, in_time, within};

/// A job with a delayed retry is redelivered, not before its time, with its attempt counted and its
/// error attached.
///
/// Until the end of its pause of 400 ms, the job leaves room in a window of 1 for another one.
///
/// Catches pauses that are ignored, and pauses during which the job occupies the window.
///
/// Needs the capabilities `pipeline` and `delayed_retries`.
pub async fn failed_job_comes_again_after_its_pause(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("delayed_retries", |can| can.delayed_retries).await?;
    let mut jobs = context.puller(Window::new(1)).await?;
    let pusher = context.pusher().await?;
    for n in 1..=2_u32 {
        pusher.push(&n).await.or_fail("a push")?;
    }
    let (first, start) = (next_job(&mut jobs).await?, Instant::now());
    ensure!(*first == 1, "job 1 was pushed first, and {} came", *first);
    first.retry_after(PAUSE, "not yet").or_fail("a delayed retry")?;
    let second = next_job(&mut jobs).await?;
    ensure!(*second == 2, "job 1 was to wait, and came before job {}", *second);
    second.ack();
    let again = next_job(&mut jobs).await?;
    let waited = start.elapsed();
    ensure!(waited >= PAUSE, "job {} was to wait {PAUSE:?}, and came after {waited:?}", *again);
    let context = again.context();
    ensure!(context.attempt == 2, "the second attempt counts as number {}", context.attempt);
    let error = context.history.as_ref().and_then(|history| history.last_error.clone());
    ensure!(
        error.as_deref() == Some("not yet"),
        "the error of the first attempt came as {error:?}"
    );
    again.ack();
    Ok(())
}

/// A job whose attempts all fail is dead-lettered, with the reason, the number of attempts, and the
/// first and last error.
///
/// Three attempts fail with different errors. The reason is [`DeadLetterReason::Exhausted`].
///
/// The pauses between the attempts are 40 ms. Another job, which succeeds, is done meanwhile.
///
/// Catches dead letters that are discarded, and requeues by the broker, which lose the errors of
/// the attempts.
///
/// Needs the capabilities `pipeline`, `attempts`, `delayed_retries` and `dead_letters`.
pub async fn exhausted_job_is_kept_with_its_history(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("attempts", |can| can.attempts).await?;
    context.require("delayed_retries", |can| can.delayed_retries).await?;
    context.require("dead_letters", |can| can.dead_letters).await?;
    let transport = context.serving().await?;
    let retries = Retries::new(3).backoff(PAUSE / 10, PAUSE / 10).then_dead_letter();
    let worker = in_time(Worker::bind(&transport, QUEUE, MessagePack).retries(retries)).await?;
    let handle = worker.handle();
    let work = worker.work(|context: Context, job: u32| async move {
        match job {
            0 => Err(Fault::new(Code::Application, format!("attempt {}", context.attempt))),
            _ => Ok(()),
        }
    });
    let _working = AbortOnDrop::new(tokio::spawn(work));
    let pusher = context.pusher().await?;
    for n in 0..2_u32 {
        pusher.push(&n).await.or_fail("a push")?;
    }
    eventually("the good job is done, and the bad one dead-lettered", || {
        handle.stats().done == 1 && handle.stats().dead_lettered == 1
    })
    .await?;
    // Counted once the backend has the job for its retry.
    eventually("the job was retried twice", || handle.stats().retried == 2).await?;
    let dead_letter = only(dead_jobs(&context.serving().await?, 1).await?)?;
    let (job, reason): (u32, _) =
        (dead_letter.read(&MessagePack).or_fail("reading the dead letter")?, dead_letter.reason());
    ensure!(job == 0, "job 0 failed, and {job} is dead");
    ensure!(
        reason == DeadLetterReason::Exhausted,
        "its attempts were exhausted, and it was dead-lettered as {reason}"
    );
    ensure!(
        dead_letter.attempts() == 3,
        "after 3 attempts, the dead letter counts {}",
        dead_letter.attempts()
    );
    for (which, error, attempt) in
        [("first", dead_letter.first_error(), 1), ("last", dead_letter.last_error(), 3)]
    {
        let expected = format!("attempt {attempt}");
        let is_kept = error.is_some_and(|error| error.contains(&expected));
        ensure!(is_kept, "its {which} error was {expected:?}, and is kept as {error:?}");
    }
    Ok(())
}

/// A job whose workers die with it is dead-lettered after its attempts, and runs no more.
///
/// Three workers die with the job. Its first attempt may be left uncounted, since the worker may
/// have died for another reason. The fourth allows three attempts, and dead-letters it without
/// running it. The reason is [`DeadLetterReason::Crashed`].
///
/// A worker dies by closing its transport with the unsettled job. Each delivery after the first
/// must be marked as redelivered.
///
/// Catches queues that count to two, for which a job that kills its worker runs without end.
///
/// Needs the capabilities `pipeline`, `attempts` and `dead_letters`.
pub async fn job_that_ends_its_workers_is_kept(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("attempts", |can| can.attempts).await?;
    context.require("dead_letters", |can| can.dead_letters).await?;
    context.pusher().await?.push(&7_u32).await.or_fail("a push")?;
    let mut uncounted = 0;
    for attempt in 1..=3 {
        let dying = context.serving().await?;
        let mut jobs: Puller<u32> =
            in_time(Puller::bind(&dying, QUEUE, MessagePack).window(Window::new(1))).await?;
        let job = next_job(&mut jobs).await?;
        let counted = job.context().attempt;
        if (attempt, counted) == (2, 1) {
            uncounted = 1;
        }
        let right = attempt - uncounted;
        ensure!(counted == right, "worker {attempt} to die with it sees attempt {counted}");
        let is_redelivered = job.context().is_redelivered();
        ensure!(is_redelivered == (attempt > 1), "worker {attempt} learns {is_redelivered}");
        in_time(dying.close()).await?;
        drop(job);
    }
    let transport = context.serving().await?;
    let worker = in_time(Worker::bind(&transport, QUEUE, MessagePack).attempts(3)).await?;
    let runs = Arc::new(AtomicU32::new(0));
    let count = runs.clone();
    let _working = AbortOnDrop::new(tokio::spawn(worker.work(move |_: u32| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }
    })));
    let dead_letter = only(dead_jobs(&context.serving().await?, 1).await?)?;
    ensure!(
        dead_letter.reason() == DeadLetterReason::Crashed,
        "three workers died with it, and it was dead-lettered as {}",
        dead_letter.reason()
    );
    let runs = runs.load(Ordering::SeqCst);
    ensure!(runs == 0, "after three workers had died with it, it was run again");
    Ok(())
}

/// A job whose handler fails for good is dead-lettered after one attempt.
///
/// The handler answers with a [permanent](Fault::permanent) fault. The worker allows five attempts.
/// The reason is [`DeadLetterReason::Refused`].
///
/// Catches backends that redeliver a job which a worker dead-letters.
///
/// Needs the capabilities `pipeline` and `dead_letters`.
pub async fn permanent_fault_is_not_retried(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("dead_letters", |can| can.dead_letters).await?;
    let transport = context.serving().await?;
    let worker = in_time(Worker::bind(&transport, QUEUE, MessagePack)).await?;
    let runs = Arc::new(AtomicU32::new(0));
    let count = runs.clone();
    let _working = AbortOnDrop::new(tokio::spawn(worker.work(move |_: u32| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Err::<(), _>(Fault::new(Code::Application, "no such picture").permanent()) }
    })));
    context.pusher().await?.push(&7_u32).await.or_fail("a push")?;
    let dead_letter = only(dead_jobs(&context.serving().await?, 1).await?)?;
    let runs = runs.load(Ordering::SeqCst);
    ensure!(runs == 1, "the fault was permanent, and the handler ran {runs} times");
    ensure!(
        dead_letter.reason() == DeadLetterReason::Refused,
        "the fault was permanent, and the job was dead-lettered as {}",
        dead_letter.reason()
    );
    Ok(())
}

/// A job that cannot be decoded is dead-lettered with the error.
///
/// The dead letter keeps its body. The reason is [`DeadLetterReason::Unreadable`].
///
/// Catches backends that discard what their consumer rejects.
///
/// Needs the capabilities `pipeline` and `dead_letters`.
pub async fn unreadable_job_is_kept(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("dead_letters", |can| can.dead_letters).await?;
    let mut jobs = context.puller(Window::default()).await?;
    context.pusher().await?.push("no number").await.or_fail("a push")?;
    let read = within(PATIENCE, "a job arrives in time", jobs.next()).await?;
    ensure!(matches!(read, Some(Err(_))), "text was decoded as a number");
    let dead_letter = only(dead_jobs(&context.serving().await?, 1).await?)?;
    let text: String = dead_letter.read(&MessagePack).or_fail("reading the dead letter")?;
    ensure!(text == "no number", "it is kept as {text:?}");
    ensure!(
        dead_letter.reason() == DeadLetterReason::Unreadable,
        "it cannot be decoded, and was dead-lettered as {}",
        dead_letter.reason()
    );
    ensure!(dead_letter.last_error().is_some(), "the dead letter has no error");
    Ok(())
}
