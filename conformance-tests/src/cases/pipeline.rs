//! Jobs, each for exactly one worker.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use polywire_codec::MessagePack;
use polywire_core::worker::WorkHandle;
use polywire_core::{
    Code, Context, ErrorKind, Fault, Headers, Job, Puller, Pusher, Retries, Transport, Window,
    Worker,
};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::calls::{eventually, reaches};
use crate::stage::{PATIENCE, QUEUE, URGENT, bound};
use crate::verdict::ensure;
use crate::{Failure, OrFail, Stage, Verdict};

/// Of the jobs of several pushers, each reaches exactly one of several workers.
pub async fn each_job_reaches_one_worker(stage: &Stage) -> Verdict {
    const PUSHERS: u32 = 3;
    const EACH: u32 = 500;
    stage.require("pipeline", |can| can.pipeline).await?;
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(Working::start(stage).await?);
    }
    let pushers = join_all((0..PUSHERS).map(|_| stage.pusher())).await;
    let mut pushing = Vec::new();
    for (pusher, first) in pushers.into_iter().zip((0..).step_by(EACH as usize)) {
        let pusher = pusher?;
        pushing.push(async move {
            for job in first..first + EACH {
                pusher.push(&job).await?;
            }
            Ok(())
        });
    }
    try_join_all(pushing)
        .await
        .map_err(|error: polywire_core::Error| Failure::new(format!("a push: {error:?}")))?;

    let all = PUSHERS * EACH;
    let done = || workers.iter().map(|worker| worker.handle.stats().done).sum::<u64>();
    reaches("every job is worked off", u64::from(all), done).await?;
    let mut seen = HashMap::new();
    for job in workers.iter().flat_map(Working::seen) {
        *seen.entry(job).or_insert(0) += 1;
    }
    let twice = seen.values().filter(|count| **count > 1).count();
    ensure!(twice == 0, "{twice} of {all} jobs were worked off more than once");
    ensure!(seen.len() == all as usize, "{} of {all} jobs were worked off", seen.len());
    let idle = workers.iter().filter(|worker| worker.seen().is_empty()).count();
    ensure!(idle == 0, "{idle} of 3 workers got no job at all");
    Ok(())
}

/// The jobs of one pusher reach one worker in the order in which they were pushed.
pub async fn jobs_keep_their_order(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    let mut jobs = stage.puller(Window::new(16)).await?;
    let pusher = stage.pusher().await?;
    for n in 0..200_u32 {
        pusher.push(&n).await.or_fail("a push")?;
        let job = next(&mut jobs).await?;
        ensure!(*job == n, "job {n} was pushed, and {} came", *job);
        job.ack();
    }
    Ok(())
}

/// Of the jobs that wait, the urgent ones are taken first, and those that are as urgent in their
/// order.
pub async fn urgent_jobs_are_taken_first(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require("holding", |can| can.holding).await?;
    stage.require("priorities", |can| can.priorities).await?;
    let pusher = bound(Pusher::connect(&stage.calling().await?, URGENT, MessagePack)).await?;
    pusher.push(&1_u32).await.or_fail("a push")?;
    for (job, priority) in [(2_u32, 1), (3, 3), (4, 1), (5, 3), (6, 0)] {
        pusher.with_priority(priority).push(&job).await.or_fail("an urgent push")?;
    }
    // All of them wait before anybody takes any.
    let serving = stage.serving().await?;
    let jobs = Puller::bind(&serving, URGENT, MessagePack).window(Window::new(1));
    let mut jobs: Puller<u32> = bound(jobs).await?;
    for expected in [3, 5, 2, 4, 1, 6] {
        let job = next(&mut jobs).await?;
        ensure!(*job == expected, "it was the turn of job {expected}, and {} came", *job);
        job.ack();
    }
    Ok(())
}

/// What a job says about itself crosses with it.
pub async fn headers_cross_with_the_job(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    let mut jobs = stage.puller(Window::default()).await?;
    let headers = Headers::from_iter([("tenant", "zürich"), ("empty", "")]);
    stage.pusher().await?.push_with(&1_u32, headers.clone()).await.or_fail("a push")?;
    let job = next(&mut jobs).await?;
    let found = &job.context().headers;
    ensure!(*found == headers, "the headers {headers:?} came as {found:?}");
    ensure!(
        job.context().attempt == 1,
        "the first attempt counts as number {}",
        job.context().attempt
    );
    job.ack();
    Ok(())
}

/// A job that nobody is there for waits for a worker, or its push says that it is unroutable.
pub async fn job_for_nobody_waits_or_is_refused(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    let transport = stage.calling().await?;
    let pusher = bound(Pusher::connect(&transport, QUEUE, MessagePack)).await?;
    let pushed = timeout(PATIENCE, pusher.push(&1_u32)).await.or_fail("a push to nobody ends")?;
    if transport.capabilities().holding {
        pushed.or_fail("a push into a queue that holds jobs")?;
        let mut jobs = stage.puller(Window::default()).await?;
        let job = next(&mut jobs).await?;
        ensure!(*job == 1, "the job that waited came as {}", *job);
        job.ack();
        return Ok(());
    }
    let Err(error) = pushed else {
        return Err(Failure::new("a push to nobody succeeded, though nothing holds the job"));
    };
    ensure!(error.kind() == ErrorKind::Unroutable, "a push to nobody failed as {error:?}");
    ensure!(
        error.is_unsent(),
        "nobody could have taken it, yet it does not count as unsent: {error:?}"
    );
    Ok(())
}

/// A job that is dropped unsettled comes again, and says so.
pub async fn dropped_job_is_requeued(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require("settlement", |can| can.settlement).await?;
    let mut jobs = stage.puller(Window::new(1)).await?;
    stage.pusher().await?.push(&7_u32).await.or_fail("a push")?;
    drop(next(&mut jobs).await?);
    let again = next(&mut jobs).await?;
    ensure!(*again == 7, "the job 7 was dropped, and {} came", *again);
    ensure!(again.context().is_redelivered(), "a job that came again does not say so");
    again.ack();
    Ok(())
}

/// Each requeue is one more attempt.
pub async fn requeued_job_counts_its_attempts(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require("settlement", |can| can.settlement).await?;
    stage.require("attempts", |can| can.attempts).await?;
    let mut jobs = stage.puller(Window::new(4)).await?;
    stage.pusher().await?.push(&7_u32).await.or_fail("a push")?;
    for attempt in 1..=4 {
        let job = next(&mut jobs).await?;
        let counted = job.context().attempt;
        ensure!(counted == attempt, "attempt {attempt} counts as number {counted}");
        job.requeue().or_fail("a requeue")?;
    }
    next(&mut jobs).await?.ack();
    Ok(())
}

/// A job that was acknowledged or discarded never comes again, whatever becomes of its worker.
pub async fn settled_job_is_gone(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require("settlement", |can| can.settlement).await?;
    let mut jobs = stage.puller(Window::new(4)).await?;
    let pusher = stage.pusher().await?;
    for n in 0..2_u32 {
        pusher.push(&n).await.or_fail("a push")?;
    }
    next(&mut jobs).await?.ack();
    next(&mut jobs).await?.discard();
    drop(jobs);
    let mut heir = stage.puller(Window::new(4)).await?;
    pusher.push(&2_u32).await.or_fail("a push")?;
    let job = next(&mut heir).await?;
    ensure!(*job == 2, "the settled job {} came again", *job);
    job.ack();
    Ok(())
}

/// The jobs that a worker held when it died go to another one.
pub async fn jobs_of_a_dead_worker_go_on(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require("settlement", |can| can.settlement).await?;
    let dying = stage.serving().await?;
    let mut jobs: Puller<u32> =
        bound(Puller::bind(&dying, QUEUE, MessagePack).window(Window::new(4))).await?;
    let pusher = stage.pusher().await?;
    for n in 0..4_u32 {
        pusher.push(&n).await.or_fail("a push")?;
    }
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(next(&mut jobs).await?);
    }
    bound(dying.close()).await?;
    drop(held);
    let mut heir = stage.puller(Window::new(4)).await?;
    let mut inherited = Vec::new();
    for _ in 0..4 {
        let job = next(&mut heir).await?;
        ensure!(
            job.context().is_redelivered(),
            "a job of a dead worker does not say that it was delivered before"
        );
        inherited.push(*job);
        job.ack();
    }
    inherited.sort_unstable();
    ensure!(
        inherited == [0, 1, 2, 3],
        "of the jobs 0 to 3 of a dead worker, the other one got {inherited:?}"
    );
    Ok(())
}

/// A worker holds no more jobs than its window; the rest goes to others.
pub async fn window_bounds_the_jobs_taken(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require("settlement", |can| can.settlement).await?;
    let mut narrow = stage.puller(Window::new(2)).await?;
    let pusher = stage.pusher().await?;
    for n in 0..3_u32 {
        pusher.push(&n).await.or_fail("a push")?;
    }
    let held = [next(&mut narrow).await?, next(&mut narrow).await?];
    let mut wide = stage.puller(Window::new(9)).await?;
    let third = tokio::select! {
        biased;
        _ = next(&mut narrow) => return Err(Failure::new("a third job came through a window of two")),
        third = next(&mut wide) => third?,
    };
    ensure!(
        held.iter().all(|job| **job != *third),
        "job {} was held by one, and went to another, too",
        *third
    );
    third.ack();
    held.into_iter().for_each(Job::ack);
    Ok(())
}

/// Whatever a worker that does not read is sent, each push either waits or is kept: what succeeded
/// arrives.
pub async fn worker_that_does_not_read_loses_nothing(stage: &Stage) -> Verdict {
    const MOST: u32 = 5_000;
    stage.require("pipeline", |can| can.pipeline).await?;
    let serving = stage.serving().await?;
    let mut jobs: Puller<(u32, String)> =
        bound(Puller::bind(&serving, QUEUE, MessagePack).window(Window::new(8))).await?;
    let transport = stage.calling().await?;
    let pusher =
        bound(Pusher::connect(&transport, QUEUE, MessagePack).timeout(Duration::from_millis(500)))
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
        let job = next(&mut jobs).await.map_err(|_| lost())?;
        if job.0 != expected {
            return Err(lost());
        }
        job.ack();
    }
    Ok(())
}

/// A job whose handler fails is tried again, as often as was said, and then discarded, if that was
/// said.
pub async fn failing_job_is_tried_again_and_then_discarded(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require("settlement", |can| can.settlement).await?;
    stage.require("attempts", |can| can.attempts).await?;
    let transport = stage.serving().await?;
    let retries = Retries::at_once(3).then_discard();
    let worker = bound(Worker::bind(&transport, QUEUE, MessagePack).retries(retries)).await?;
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
    let _working = Task(tokio::spawn(work));
    let pusher = stage.pusher().await?;
    pusher.push(&0_u32).await.or_fail("a push")?;
    eventually("the job is discarded", || handle.stats().discarded == 1).await?;
    ensure!(
        handle.stats().retried == 2,
        "it was given back {} times, not twice",
        handle.stats().retried
    );
    pusher.push(&1_u32).await.or_fail("a push")?;
    eventually("the next job is done", || handle.stats().done == 1).await?;
    let tried = tried.load(Ordering::SeqCst);
    ensure!(
        tried == 4,
        "the handler ran {tried} times, not three times for one and once for the other"
    );
    Ok(())
}

/// A handler that panics and a job that cannot be read leave the worker at work.
pub async fn bad_jobs_leave_the_worker_at_work(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    let transport = stage.serving().await?;
    let worker = bound(Worker::bind(&transport, QUEUE, MessagePack).attempts(1)).await?;
    let handle = worker.handle();
    let work = worker.work(|job: u32| async move {
        #[allow(clippy::panic, reason = "this is what the case is about")]
        if job == 0 {
            panic!("zero");
        }
        Ok(())
    });
    let _working = Task(tokio::spawn(work));
    let pusher = stage.pusher().await?;
    pusher.push(&0_u32).await.or_fail("a push")?;
    pusher.push("not a number").await.or_fail("a push")?;
    pusher.push(&1_u32).await.or_fail("a push")?;
    eventually("the good job is done", || handle.stats().done == 1).await?;
    let given_up = || handle.stats().discarded + handle.stats().dead_lettered;
    eventually("the bad ones are given up", || given_up() == 2).await?;
    ensure!(handle.stats().panicked == 1, "{} handlers panicked, not one", handle.stats().panicked);
    Ok(())
}

/// A worker that drains finishes what runs, and takes nothing more.
pub async fn draining_worker_finishes_what_runs(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    let transport = stage.serving().await?;
    let worker = bound(Worker::bind(&transport, QUEUE, MessagePack).window(Window::new(2))).await?;
    let (handle, gate) = (worker.handle(), Arc::new(Semaphore::new(0)));
    let held = gate.clone();
    let work = worker.work(move |_: u32| {
        let held = held.clone();
        async move {
            if let Ok(permit) = held.acquire().await {
                permit.forget();
            }
            Ok(())
        }
    });
    let working = tokio::spawn(work);
    let pusher = stage.pusher().await?;
    for n in 0..2_u32 {
        pusher.push(&n).await.or_fail("a push")?;
    }
    eventually("the jobs run", || handle.stats().running == 2).await?;
    let draining = tokio::spawn({
        let handle = handle.clone();
        async move { handle.drain().await }
    });
    gate.add_permits(2);
    timeout(PATIENCE, draining)
        .await
        .or_fail("draining ends")?
        .or_fail("draining does not panic")?;
    timeout(PATIENCE, working)
        .await
        .or_fail("the worker ends")?
        .or_fail("the worker does not panic")?;
    ensure!(handle.stats().done == 2, "{} of 2 jobs that ran were finished", handle.stats().done);
    if transport.capabilities().holding {
        pusher.push(&2_u32).await.or_fail("a push")?;
        let mut heir = stage.puller(Window::default()).await?;
        let job = next(&mut heir).await?;
        ensure!(*job == 2, "the job after the end of the worker came as {}", *job);
        job.ack();
    }
    Ok(())
}

/// Closing a transport ends its pullers, and its pushers say that they are closed.
pub async fn close_ends_pulling_and_pushing(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    let serving = stage.serving().await?;
    let mut jobs: Puller<u32> = bound(Puller::bind(&serving, QUEUE, MessagePack)).await?;
    let calling = stage.calling().await?;
    let pusher = bound(Pusher::connect(&calling, QUEUE, MessagePack)).await?;
    bound(calling.close()).await?;
    let pushed =
        timeout(PATIENCE, pusher.push(&1_u32)).await.or_fail("a push after closing ends")?;
    let kind = pushed.as_ref().err().map(polywire_core::Error::kind);
    ensure!(kind == Some(ErrorKind::Closed), "a push after closing ended with {pushed:?}");
    bound(serving.close()).await?;
    let end = timeout(PATIENCE, jobs.next()).await.or_fail("a closed puller ends")?;
    ensure!(end.is_none(), "a closed puller yielded {end:?}");
    Ok(())
}

/// The next job, which must come.
pub(crate) async fn next<T>(jobs: &mut Puller<T>) -> Verdict<Job<T>> {
    let next = timeout(PATIENCE, jobs.next()).await.or_fail("a job arrives in time")?;
    next.or_fail("a job arrives")?.or_fail("a job can be read")
}

/// A task that ends with the case.
pub(crate) struct Task(pub(crate) tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A worker that notes what it did.
struct Working {
    handle: WorkHandle,
    seen: Arc<std::sync::Mutex<Vec<u32>>>,
    _task: Task,
}

impl Working {
    async fn start(stage: &Stage) -> Verdict<Self> {
        let transport = stage.serving().await?;
        let worker =
            bound(Worker::bind(&transport, QUEUE, MessagePack).window(Window::new(8))).await?;
        let (handle, seen) = (worker.handle(), Arc::new(std::sync::Mutex::new(Vec::new())));
        let notes = seen.clone();
        let work = worker.work(move |job: u32| {
            notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(job);
            async { Ok(()) }
        });
        Ok(Self { handle, seen, _task: Task(tokio::spawn(work)) })
    }

    fn seen(&self) -> Vec<u32> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
