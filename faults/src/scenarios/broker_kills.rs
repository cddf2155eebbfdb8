//! The broker is killed repeatedly under calls: each call ends, and each acknowledged call had its
//! effect.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use fastrand::Rng;
use polywire_amqp::Amqp;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Plan;
use crate::broker::Broker;
use crate::calls::Calls;
use crate::peer::{Peer, PeerRole};
use crate::recorder::Recorder;
use crate::wait::until;

/// Runs the scenario: 3 kills under 600 calls in a quick run, 20 kills under 10,000 calls in a full
/// one.
///
/// Two servers answer. One of them suppresses duplicates, and must carry out no call twice.
///
/// There are 20 callers in a quick run and 100 in a full one, with a deadline of 30 seconds for
/// each call. The node writes its list of queues to disk before the first kill.
///
/// # Errors
///
/// If a call outlasts its deadline, if an acknowledged call had no effect, or if the server that
/// suppresses duplicates repeated one.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    let (kills, total, callers) = (plan.pick(3, 20), plan.pick(600, 10_000), plan.pick(20, 100));
    let broker = Broker::start().await?;
    let url = plan.url(&broker.url);
    let _plain = Peer::start(plan, PeerRole::Server, &url, 1, recorder).await?;
    let careful = Peer::start(plan, PeerRole::CarefulServer, &url, 1, recorder).await?;
    let amqp = Amqp::connect(&url).await?;
    broker.with(|node| node.remember_queues()).await?;
    let load = Calls { total, callers, timeout: Duration::from_secs(30), pause: Duration::ZERO };
    tokio::try_join!(
        load.run(&amqp, recorder),
        kill_repeatedly(&broker, plan.seed, kills, total, recorder)
    )?;
    recorder.figure("kills", kills);
    recorder.check_nothing_lost().await?;
    let repeated = recorder.repeated_by(careful.number);
    ensure!(repeated == 0, "a server that suppresses duplicates repeated {repeated} calls");
    Ok(())
}

/// Kills within the first half of each share of the calls: some are in flight at each kill.
///
/// A kill follows within 20 ms after a random call of its share. The node is down for up to a
/// second, and for the time of its start. The figure is the longest time from a restart to the next
/// acknowledged call.
async fn kill_repeatedly(
    broker: &Broker,
    seed: u64,
    kills: usize,
    total: usize,
    recorder: &Arc<Recorder>,
) -> Result<()> {
    let mut rng = Rng::with_seed(seed);
    let share = total / kills;
    let mut recoveries = JoinSet::new();
    for kill in 0..kills {
        let ended = kill * share + usize::try_from(rng.u64(..share as u64 / 2))?;
        recorder.until_ended(ended).await?;
        sleep(Duration::from_millis(rng.u64(..=20))).await;
        broker.kill().await?;
        sleep(Duration::from_millis(rng.u64(..=1000))).await;
        broker.restart().await?;
        recoveries.spawn(answered_again(recorder.clone()));
    }
    let mut slowest = Duration::ZERO;
    while let Some(recovery) = recoveries.join_next().await {
        slowest = slowest.max(recovery??);
    }
    recorder.figure("answered again within", format!("{:.1} s", slowest.as_secs_f64()));
    Ok(())
}

/// Measures the time from now until a call is answered.
///
/// # Errors
///
/// If no call is acknowledged within two minutes.
async fn answered_again(recorder: Arc<Recorder>) -> Result<Duration> {
    let start = Instant::now();
    let before = recorder.summary().acknowledged;
    until("a call is answered after a restart", || recorder.summary().acknowledged > before)
        .await?;
    Ok(start.elapsed())
}
