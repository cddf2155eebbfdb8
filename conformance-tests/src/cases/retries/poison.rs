//! Jobs that end the process of each worker, among jobs that do no harm.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::{AnyTransport, DeadLetters, Puller, Transport, Window, Worker};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::dead_jobs::within_patience;
use crate::cases::receive::next_job;
use crate::cases::task::AbortOnDrop;
use crate::context::TestContext;
use crate::names::QUEUE;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, in_time, within};

/// The number of jobs.
const JOBS: u32 = 5;

/// The job that ends its workers.
const POISON: u32 = 2;

/// The attempts that each worker allows.
const ATTEMPTS: u32 = 3;

/// The most workers that may die, of which the first one dies with all jobs.
const DEATHS_MAX: u32 = 8;

/// The pause between two looks at the dead letters.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The jobs that are done. Clones share the set.
#[derive(Clone, Default)]
struct Done(Arc<Mutex<BTreeSet<u32>>>);

impl Done {
    fn note(&self, job: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(job);
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// A job that ends each of its workers is dead-lettered alone, and the jobs beside it are done.
///
/// The first worker dies with all five jobs. The workers after it take one job at a time, allow
/// three attempts, and die when the third job begins.
///
/// Catches backends that blame each job of a dead worker, and backends that cannot count.
///
/// Needs the capabilities `pipeline`, `attempts` and `dead_letters`.
pub async fn jobs_beside_one_that_ends_its_workers_are_done(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("attempts", |can| can.attempts).await?;
    context.require("dead_letters", |can| can.dead_letters).await?;
    let pusher = context.pusher().await?;
    for job in 0..JOBS {
        pusher.push(&job).await.or_fail("a push")?;
    }
    die_with_all_jobs(context).await?;
    let done = Done::default();
    let looking = context.serving().await?;
    let dead_letters = DeadLetters::of_queue(&looking, QUEUE).or_fail("dead letters")?;
    for _ in 1..DEATHS_MAX {
        let dying = context.serving().await?;
        let worker = Worker::bind(&dying, QUEUE, MessagePack).window(Window::new(1));
        let worker = in_time(worker.attempts(ATTEMPTS)).await?;
        let (begin, mut begun) = mpsc::unbounded_channel();
        let done_by_worker = done.clone();
        let _working = AbortOnDrop::new(tokio::spawn(worker.work(move |job: u32| {
            let (begin, done) = (begin.clone(), done_by_worker.clone());
            async move {
                if job == POISON {
                    // The case may have ended.
                    let _ = begin.send(());
                    pending::<()>().await;
                }
                done.note(job);
                Ok(())
            }
        })));
        let settling = only_the_poison_is_dead(&dead_letters, &done);
        let settled = within(PATIENCE, "each job is settled in time", settling);
        tokio::select! {
            Some(()) = begun.recv() => in_time(dying.close()).await?,
            settled = settled => return settled?,
        }
    }
    Err(Failure::new(format!(
        "{DEATHS_MAX} workers died with a job for which {ATTEMPTS} attempts are allowed"
    )))
}

/// Ends a worker that holds all jobs and has begun none.
async fn die_with_all_jobs(context: &TestContext) -> Verdict {
    let dying = context.serving().await?;
    let window = Window::new(2 * JOBS as usize);
    let jobs = Puller::bind(&dying, QUEUE, MessagePack).window(window);
    let mut jobs: Puller<u32> = in_time(jobs).await?;
    let mut held = Vec::new();
    for _ in 0..JOBS {
        held.push(next_job(&mut jobs).await?);
    }
    in_time(dying.close()).await?;
    drop(held);
    Ok(())
}

/// Waits until all jobs but the poison are done, and the poison is a dead letter.
///
/// A backend may keep two copies of the poison, if a worker died between a copy and its settlement.
///
/// # Errors
///
/// [`Failure::Failed`], if another job is dead-lettered, or the poison for another reason than its
/// crashes.
async fn only_the_poison_is_dead(
    dead_letters: &DeadLetters<'_, AnyTransport>,
    done: &Done,
) -> Verdict {
    loop {
        let look = dead_letters.look(2 * JOBS as usize);
        let dead = within_patience(look).await.or_fail("reading dead letters")?;
        for letter in &dead {
            let job: u32 = letter.read(&MessagePack).or_fail("reading a dead letter")?;
            ensure!(
                job == POISON,
                "job {job} was held beside the one that ends its workers, and is dead-lettered"
            );
            let reason = letter.reason();
            ensure!(reason == DeadLetterReason::Crashed, "it is dead-lettered as {reason}");
        }
        if !dead.is_empty() && done.count() == JOBS as usize - 1 {
            return Ok(());
        }
        sleep(LOOK_PAUSE).await;
    }
}
