//! Workers: failing jobs, draining, closing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use polywire_codec::MessagePack;
use polywire_core::{
    Code, Context, Error, ErrorKind, Fault, Puller, Pusher, Retries, Transport, Window, Worker,
};
use tokio::sync::Semaphore;

use crate::cases::panicking_payload::panic_with_panicking_payload;
use crate::cases::receive::next_job;
use crate::cases::services::use_permit;
use crate::cases::task::AbortOnDrop;
use crate::context::TestContext;
use crate::names::QUEUE;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, in_time, within};

/// A job whose handler fails is retried as often as configured, and then discarded.
///
/// With [`Retries::at_once`], the handler runs three times for the failing job, and once for the
/// next one.
///
/// The next job is pushed when the failing one is discarded.
///
/// Catches backends that lose a requeued job, or redeliver a discarded one.
///
/// Needs the capabilities `pipeline`, `settlement` and `attempts`.
pub async fn failing_job_is_tried_again_and_then_discarded(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("settlement", |can| can.settlement).await?;
    context.require("attempts", |can| can.attempts).await?;
    let transport = context.serving().await?;
    let retries = Retries::at_once(3).then_discard();
    let worker = in_time(Worker::bind(&transport, QUEUE, MessagePack).retries(retries)).await?;
    let handle = worker.handle();
    let tried = Arc::new(AtomicU32::new(0));
    let counter = tried.clone();
    let work = worker.work(move |context: Context, job: u32| {
        let counter = counter.clone();
        async move {
            let _ = counter.fetch_add(1, Ordering::SeqCst);
            match job {
                0 => Err(Fault::new(Code::Application, format!("attempt {}", context.attempt))),
                _ => Ok(()),
            }
        }
    });
    let _working = AbortOnDrop::new(tokio::spawn(work));
    let pusher = context.pusher().await?;
    pusher.push(&0_u32).await.or_fail("a push")?;
    eventually("the job is discarded", || handle.stats().discarded == 1).await?;
    // Counted once the backend has the job for its retry.
    eventually("the job was retried twice", || handle.stats().retried == 2).await?;
    pusher.push(&1_u32).await.or_fail("a push")?;
    eventually("the next job is done", || handle.stats().done == 1).await?;
    let tried = tried.load(Ordering::SeqCst);
    ensure!(
        tried == 4,
        "the handler ran {tried} times, not three times for one job and once for the other"
    );
    Ok(())
}

/// A handler that panics and a job that cannot be decoded leave the worker at work.
///
/// The worker allows one attempt. The panic is counted, and the next job is done.
///
/// The panicking job and the one that is text are discarded, or dead-lettered where the backend
/// keeps dead letters.
///
/// Catches channels that close on a rejected delivery.
///
/// Needs the capability `pipeline`.
pub async fn bad_jobs_leave_the_worker_at_work(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let transport = context.serving().await?;
    let worker = in_time(Worker::bind(&transport, QUEUE, MessagePack).attempts(1)).await?;
    let handle = worker.handle();
    let work = worker.work(|job: u32| async move {
        #[allow(clippy::panic, reason = "this is what the case is about")]
        if job == 0 {
            panic!("zero");
        }
        Ok(())
    });
    let _working = AbortOnDrop::new(tokio::spawn(work));
    let pusher = context.pusher().await?;
    pusher.push(&0_u32).await.or_fail("a push")?;
    pusher.push("not a number").await.or_fail("a push")?;
    pusher.push(&1_u32).await.or_fail("a push")?;
    eventually("the good job is done", || handle.stats().done == 1).await?;
    let ended = || handle.stats().discarded + handle.stats().dead_lettered;
    eventually("the bad jobs are discarded or dead-lettered", || ended() == 2).await?;
    ensure!(handle.stats().panicked == 1, "{} handlers panicked, not one", handle.stats().panicked);
    Ok(())
}

/// A job whose handler panics with a payload that panics in turn is given up once, and the worker
/// goes on.
///
/// The worker allows one attempt. The payload panics when it is dropped. The next job is done, and
/// the worker drains; the bad job has run once by then.
///
/// Catches backends that deliver a job again that was given up.
///
/// Needs the capability `pipeline`.
pub async fn panicking_payload_of_a_job_runs_once(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let transport = context.serving().await?;
    let worker = in_time(Worker::bind(&transport, QUEUE, MessagePack).attempts(1)).await?;
    let (handle, runs) = (worker.handle(), Arc::new(AtomicU32::new(0)));
    let count = runs.clone();
    let work = worker.work(move |job: u32| {
        let count = count.clone();
        async move {
            if job == 0 {
                count.fetch_add(1, Ordering::SeqCst);
                panic_with_panicking_payload();
            }
            Ok(())
        }
    });
    let _working = AbortOnDrop::new(tokio::spawn(work));
    let pusher = context.pusher().await?;
    pusher.push(&0_u32).await.or_fail("a push")?;
    pusher.push(&1_u32).await.or_fail("a push")?;
    eventually("the good job is done", || handle.stats().done == 1).await?;
    let ended = || handle.stats().discarded + handle.stats().dead_lettered;
    eventually("the bad job is discarded or dead-lettered", || ended() > 0).await?;
    within(PATIENCE, "the worker drains", handle.drain()).await?;
    let (runs, panicked) = (runs.load(Ordering::SeqCst), handle.stats().panicked);
    ensure!(runs == 1, "the job whose handler panicked ran {runs} times");
    ensure!(panicked == 1, "{panicked} panics were counted");
    Ok(())
}

/// A worker that drains finishes the jobs that run, and receives no more.
///
/// Where the backend holds jobs, a job that is pushed afterwards goes to the next puller.
///
/// Two jobs run in a window of 2 when the drain is started.
///
/// Catches consumers that are not cancelled, and receive jobs for a puller that is gone.
///
/// Needs the capability `pipeline`.
pub async fn draining_worker_finishes_what_runs(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let transport = context.serving().await?;
    let worker =
        in_time(Worker::bind(&transport, QUEUE, MessagePack).window(Window::new(2))).await?;
    let (handle, gate) = (worker.handle(), Arc::new(Semaphore::new(0)));
    let held = gate.clone();
    let work = worker.work(move |_: u32| {
        let held = held.clone();
        async move {
            use_permit(&held).await;
            Ok(())
        }
    });
    let working = tokio::spawn(work);
    let pusher = context.pusher().await?;
    for n in 0..2_u32 {
        pusher.push(&n).await.or_fail("a push")?;
    }
    eventually("the jobs run", || handle.stats().running == 2).await?;
    let draining = tokio::spawn({
        let handle = handle.clone();
        async move { handle.drain().await }
    });
    gate.add_permits(2);
    within(PATIENCE, "draining ends", draining).await?.or_fail("draining does not panic")?;
    within(PATIENCE, "the worker ends", working)
        .await?
        .or_fail("the worker does not panic")?
        .or_fail("the worker ends well")?;
    ensure!(handle.stats().done == 2, "{} of 2 jobs that ran were finished", handle.stats().done);
    if transport.capabilities().holding {
        pusher.push(&2_u32).await.or_fail("a push")?;
        let mut other = context.puller(Window::default()).await?;
        let job = next_job(&mut other).await?;
        ensure!(*job == 2, "the job after the end of the worker came as {}", *job);
        job.ack();
    }
    Ok(())
}

/// Closing a transport ends its pullers, and its pushers fail as closed.
///
/// A push fails as [`ErrorKind::Closed`], and the stream of the puller ends.
///
/// Catches transports that close their connection, and leave streams and pushes waiting.
///
/// Needs the capability `pipeline`.
pub async fn close_ends_pulling_and_pushing(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let serving = context.serving().await?;
    let mut jobs: Puller<u32> = in_time(Puller::bind(&serving, QUEUE, MessagePack)).await?;
    let calling = context.calling().await?;
    let pusher = in_time(Pusher::connect(&calling, QUEUE, MessagePack)).await?;
    in_time(calling.close()).await?;
    let pushed = within(PATIENCE, "a push after closing ends", pusher.push(&1_u32)).await?;
    let kind = pushed.as_ref().err().map(Error::kind);
    ensure!(kind == Some(ErrorKind::Closed), "a push after closing ended with {pushed:?}");
    in_time(serving.close()).await?;
    let end = within(PATIENCE, "a closed puller ends", jobs.next()).await?;
    ensure!(end.is_none(), "a closed puller yielded {end:?}");
    Ok(())
}
