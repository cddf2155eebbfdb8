//! Some jobs end the process of each worker that begins them: the jobs beside them are done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::DeadLetters;
use polywire_core::message::DeadLetterReason;
use polywire_core::pipeline::DeadLetter;

use crate::Plan;
use crate::broker::Broker;
use crate::jobs::{Jobs, QUEUE};
use crate::peer::{Peer, PeerRole, is_poison};
use crate::recorder::Recorder;
use crate::wait::until_some;

/// Workers at any time. Each is replaced when it has ended.
const WORKERS: usize = 2;
/// Long enough that a window of jobs is in progress at each crash.
const WORK_MS: u64 = 20;

/// Runs the scenario: 100 jobs with one poison in a quick run, 1,000 jobs with ten in a full one.
///
/// Two workers take 16 jobs at a time, and allow four attempts. A worker that has ended is started
/// again. A poison job reports that it begins, and ends the process.
///
/// The dead letters have to be exactly the poison jobs, each with the reason `Crashed`. All jobs
/// are pushed before the first worker starts.
///
/// # Errors
///
/// If a good job is not done, if a poison job is no dead letter in the end, or if a good job is.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    let total = plan.pick(100, 1_000);
    let broker = Broker::start().await?;
    let url = plan.url(&broker.url);
    let amqp = Amqp::connect(&url).await?;
    // The whole load waits, so that the windows are full.
    let load = Jobs { total, pushers: 64, pause: Duration::ZERO };
    load.push(&amqp, recorder).await?;
    let crashes = AtomicUsize::new(0);
    let working = async {
        let workers = (0..WORKERS).map(|_| keep_alive(plan, &url, recorder, &crashes));
        futures_util::future::try_join_all(workers).await
    };
    let poison: BTreeSet<u64> = (0..total as u64).filter(|id| is_poison(*id)).collect();
    let dead_letters = DeadLetters::of_queue(&amqp, QUEUE)?;
    let dead = tokio::select! {
        ended = working => return ended.map(drop),
        dead = async {
            recorder.check_nothing_lost().await?;
            until_some("each poison job is dead", || async {
                let dead = dead_letters.look(total).await.ok()?;
                numbers(&dead).is_superset(&poison).then_some(dead)
            })
            .await
        } => dead?,
    };
    recorder.figure("poison jobs", poison.len());
    recorder.figure("dead letters", dead.len());
    recorder.figure("crashes", crashes.load(Ordering::Relaxed));
    let attempts = dead.iter().map(DeadLetter::attempts).max().unwrap_or(0);
    recorder.figure("attempts at a poison job, at most", attempts);
    ensure!(numbers(&dead) == poison, "other jobs are dead, too: {:?}", numbers(&dead));
    let is_crashed = |letter: &DeadLetter| letter.reason() == DeadLetterReason::Crashed;
    ensure!(dead.iter().all(is_crashed), "a poison job is dead for another reason: {dead:?}");
    Ok(())
}

/// Returns the jobs among the dead letters. A copy whose original could not be acknowledged is the
/// same job.
fn numbers(dead: &[DeadLetter]) -> BTreeSet<u64> {
    dead.iter().filter_map(|letter| letter.read(&MessagePack).ok()).collect()
}

/// Runs a worker, and another one whenever the last has ended.
///
/// Ends only with an error. Each end of a worker counts as a crash.
async fn keep_alive(
    plan: &Plan,
    url: &str,
    recorder: &Arc<Recorder>,
    crashes: &AtomicUsize,
) -> Result<()> {
    loop {
        let worker = Peer::start(plan, PeerRole::FragileWorker, url, WORK_MS, recorder).await?;
        worker.ended().await?;
        crashes.fetch_add(1, Ordering::Relaxed);
    }
}
