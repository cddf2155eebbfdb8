//! The distribution of jobs to workers: once each, in order, urgent ones first.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{join_all, try_join_all};
use polywire_codec::MessagePack;
use polywire_core::worker::WorkHandle;
use polywire_core::{Error, ErrorKind, Headers, Puller, Pusher, Transport, Window, Worker};
use tokio::sync::Semaphore;

use crate::cases::receive::next_job;
use crate::cases::task::AbortOnDrop;
use crate::context::TestContext;
use crate::names::{QUEUE, URGENT};
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, in_time, reaches, within};

/// Each job of several pushers reaches exactly one of several workers.
///
/// Three pushers push 500 jobs each, and each of three workers must get some.
///
/// Catches pushes that report success for a job that is lost, and jobs that are copied to several
/// workers.
///
/// Needs the capability `pipeline`.
pub async fn each_job_reaches_one_worker(context: &TestContext) -> Verdict {
    const PUSHERS: u32 = 3;
    const EACH: u32 = 500;
    context.require("pipeline", |can| can.pipeline).await?;
    let mut workers = Vec::new();
    // Until each worker has begun a job, none ends one. So their speed does not matter.
    let gate = Arc::new(Semaphore::new(0));
    for _ in 0..3 {
        workers.push(RecordingWorker::start(context, &gate).await?);
    }
    let pushers = join_all((0..PUSHERS).map(|_| context.pusher())).await;
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
    let all_begin = async {
        let begun = || workers.iter().all(|worker| !worker.seen().is_empty());
        let begun = eventually("each worker gets a job", begun).await;
        gate.close();
        begun
    };
    let (pushed, begun) = tokio::join!(try_join_all(pushing), all_begin);
    pushed.map_err(|error: Error| Failure::new(format!("a push: {error:?}")))?;
    begun?;

    let all = PUSHERS * EACH;
    let done = || workers.iter().map(|worker| worker.handle.stats().done).sum::<u64>();
    reaches("every job is done", u64::from(all), done).await?;
    let mut seen = HashMap::new();
    for job in workers.iter().flat_map(RecordingWorker::seen) {
        *seen.entry(job).or_insert(0) += 1;
    }
    let twice = seen.values().filter(|count| **count > 1).count();
    ensure!(twice == 0, "{twice} of {all} jobs were done more than once");
    ensure!(seen.len() == all as usize, "{} of {all} jobs were done", seen.len());
    Ok(())
}

/// The jobs of one pusher reach one worker in the order in which they were pushed.
///
/// Jobs wait before they are received: 100 in the window of the puller, and where the backend holds
/// jobs, another 100 in the queue before the puller is bound.
///
/// Catches stacks in place of queues, and pushes that overtake each other.
///
/// Needs the capability `pipeline`.
pub async fn jobs_keep_their_order(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    // More than the jobs that wait, so that no push has to wait for a worker that does not read.
    let window = Window::new(128);
    let (pusher, mut jobs) = if context.calling().await?.capabilities().holding {
        let pusher = context.pusher().await?;
        push_all(&pusher, 0..100).await?;
        let mut jobs = context.puller(window).await?;
        expect_in_order(&mut jobs, 0..100).await?;
        (pusher, jobs)
    } else {
        let jobs = context.puller(window).await?;
        (context.pusher().await?, jobs)
    };
    push_all(&pusher, 100..200).await?;
    expect_in_order(&mut jobs, 100..200).await
}

/// Waiting jobs are delivered by priority, and jobs of one priority in their order.
///
/// Six jobs of four priorities wait in the queue [`URGENT`] before the puller is bound. A job
/// without a priority is as urgent as one of priority 0.
///
/// Catches wires that drop the priority, and prefetched jobs that hide a more urgent one.
///
/// Needs the capabilities `pipeline`, `holding` and `priorities`.
pub async fn urgent_jobs_are_taken_first(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("holding", |can| can.holding).await?;
    context.require("priorities", |can| can.priorities).await?;
    let pusher = in_time(Pusher::connect(&context.calling().await?, URGENT, MessagePack)).await?;
    pusher.push(&1_u32).await.or_fail("a push")?;
    for (job, priority) in [(2_u32, 1), (3, 3), (4, 1), (5, 3), (6, 0)] {
        pusher.with_priority(priority).push(&job).await.or_fail("an urgent push")?;
    }
    // All jobs wait before the first one is received.
    let serving = context.serving().await?;
    let jobs = Puller::bind(&serving, URGENT, MessagePack).window(Window::new(1));
    let mut jobs: Puller<u32> = in_time(jobs).await?;
    for expected in [3, 5, 2, 4, 1, 6] {
        let job = next_job(&mut jobs).await?;
        ensure!(*job == expected, "it was the turn of job {expected}, and {} came", *job);
        job.ack();
    }
    Ok(())
}

/// The headers of a job arrive with it.
///
/// The first delivery counts as attempt 1.
///
/// Catches wires that carry headers for requests only.
///
/// Needs the capability `pipeline`.
pub async fn headers_cross_with_the_job(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let mut jobs = context.puller(Window::default()).await?;
    let headers = Headers::from_iter([("tenant", "zürich"), ("empty", "")]);
    context.pusher().await?.push_with(&1_u32, headers.clone()).await.or_fail("a push")?;
    let job = next_job(&mut jobs).await?;
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

/// A job without a worker waits for one, or its push fails as unroutable.
///
/// The capability `holding` decides. The error is [`ErrorKind::Unroutable`] and unsent.
///
/// Catches pushes that report success for a job that no queue has.
///
/// Needs the capability `pipeline`.
pub async fn job_without_a_worker_waits_or_is_refused(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let transport = context.calling().await?;
    let pusher = in_time(Pusher::connect(&transport, QUEUE, MessagePack)).await?;
    let pushed = within(PATIENCE, "a push without a worker ends", pusher.push(&1_u32)).await?;
    if transport.capabilities().holding {
        pushed.or_fail("a push into a queue that holds jobs")?;
        let mut jobs = context.puller(Window::default()).await?;
        let job = next_job(&mut jobs).await?;
        ensure!(*job == 1, "the job that waited came as {}", *job);
        job.ack();
        return Ok(());
    }
    let Err(error) = pushed else {
        return Err(Failure::new(
            "a push without a worker succeeded, though the backend holds no jobs",
        ));
    };
    ensure!(error.kind() == ErrorKind::Unroutable, "a push without a worker failed as {error:?}");
    ensure!(
        error.is_unsent(),
        "no worker can have got the job, yet it does not count as unsent: {error:?}"
    );
    Ok(())
}

/// Pushes jobs with these numbers.
///
/// # Errors
///
/// [`Failure::Failed`], if a push fails.
async fn push_all(pusher: &Pusher<MessagePack>, jobs: Range<u32>) -> Verdict {
    for job in jobs {
        pusher.push(&job).await.or_fail("a push")?;
    }
    Ok(())
}

/// Receives jobs, which must have these numbers, in order.
///
/// # Errors
///
/// [`Failure::Failed`], if another job arrives, or none does.
async fn expect_in_order(jobs: &mut Puller<u32>, numbers: Range<u32>) -> Verdict {
    for due in numbers {
        let job = next_job(jobs).await?;
        ensure!(*job == due, "job {due} was due, and {} came", *job);
        job.ack();
    }
    Ok(())
}

/// A worker that records its jobs.
struct RecordingWorker {
    handle: WorkHandle,
    seen: Arc<Mutex<Vec<u32>>>,
    _task: AbortOnDrop,
}

impl RecordingWorker {
    /// Starts a worker with a window of 8. It ends no job until the gate is closed.
    async fn start(context: &TestContext, gate: &Arc<Semaphore>) -> Verdict<Self> {
        let transport = context.serving().await?;
        let worker =
            in_time(Worker::bind(&transport, QUEUE, MessagePack).window(Window::new(8))).await?;
        let (handle, seen) = (worker.handle(), Arc::new(Mutex::new(Vec::new())));
        let (record, gate) = (seen.clone(), gate.clone());
        let work = worker.work(move |job: u32| {
            record.lock().unwrap_or_else(PoisonError::into_inner).push(job);
            let gate = gate.clone();
            async move {
                // Fails once the gate is closed.
                let _ = gate.acquire().await;
                Ok(())
            }
        });
        Ok(Self { handle, seen, _task: AbortOnDrop::new(tokio::spawn(work)) })
    }

    /// Returns the jobs so far.
    fn seen(&self) -> Vec<u32> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
