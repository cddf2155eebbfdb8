//! The broker is restarted under jobs: each acknowledged job is worked off.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use fastrand::Rng;
use polywire_amqp::Amqp;

use crate::Plan;
use crate::broker::Broker;
use crate::jobs::Jobs;
use crate::peer::{Peer, PeerRole};
use crate::recorder::Recorder;

/// Kills of the node, each followed by a start.
const RESTARTS: usize = 2;

/// Runs the scenario: two restarts under 3,000 jobs in a quick run, under 100,000 in a full one.
///
/// Each push is repeated until the broker acknowledges the job, so all jobs must be done in the
/// end.
///
/// The load has 64 pushers, and two workers take 256 jobs at a time each. A kill comes at a random
/// job in the first three quarters of its share.
///
/// # Errors
///
/// If a job is not acknowledged, or if an acknowledged job is not done.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    let total = plan.pick(3_000, 100_000);
    let broker = Broker::start().await?;
    let url = plan.url(&broker.url);
    let _workers = [
        Peer::start(plan, PeerRole::Worker, &url, 0, recorder).await?,
        Peer::start(plan, PeerRole::Worker, &url, 0, recorder).await?,
    ];
    let amqp = Amqp::connect(&url).await?;
    broker.with(|node| node.remember_queues()).await?;
    let load = Jobs { total, pushers: 64, pause: Duration::ZERO };
    let restarting = async {
        let mut rng = Rng::with_seed(plan.seed);
        for restart in 0..RESTARTS {
            let share = total / RESTARTS;
            recorder
                .until_ended(restart * share + usize::try_from(rng.u64(..share as u64))? * 3 / 4)
                .await?;
            broker.kill().await?;
            broker.restart().await?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(load.push(&amqp, recorder), restarting)?;
    recorder.figure("restarts", RESTARTS);
    recorder.check_nothing_lost().await?;
    let summary = recorder.summary();
    ensure!(summary.acknowledged == total, "not all jobs were acknowledged: {summary}");
    Ok(())
}
