//! Server processes are killed in turn under calls: the others answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use fastrand::Rng;
use polywire_amqp::Amqp;
use tokio::time::sleep;

use crate::Plan;
use crate::broker::Broker;
use crate::calls::Calls;
use crate::peer::{Peer, PeerRole};
use crate::recorder::Recorder;

/// Servers at any time.
const SERVERS: usize = 3;
/// Long enough that some requests are in progress at each kill.
const WORK_MS: u64 = 5;

/// Runs the scenario: 3 kills under 900 calls in a quick run, 30 kills under 15,000 calls in a full
/// one.
///
/// Three servers answer. Each kill is followed by the start of another server.
///
/// There are 20 callers in a quick run and 100 in a full one, with a deadline of 60 seconds for
/// each call. A kill follows within 20 ms after its share of the calls has ended. The oldest server
/// is killed.
///
/// # Errors
///
/// If a call is not answered, although other servers run.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    let (kills, total, callers) = (plan.pick(3, 30), plan.pick(900, 15_000), plan.pick(20, 100));
    let broker = Broker::start().await?;
    let url = plan.url(&broker.url);
    let mut servers = VecDeque::new();
    for _ in 0..SERVERS {
        servers.push_back(Peer::start(plan, PeerRole::Server, &url, WORK_MS, recorder).await?);
    }
    let amqp = Amqp::connect(&url).await?;
    let load = Calls { total, callers, timeout: Duration::from_secs(60), pause: Duration::ZERO };
    let killing = async {
        let mut rng = Rng::with_seed(plan.seed);
        for kill in 0..kills {
            recorder.until_ended(kill * total / kills).await?;
            sleep(Duration::from_millis(rng.u64(..=20))).await;
            if let Some(server) = servers.pop_front() {
                server.kill().await?;
            }
            servers.push_back(Peer::start(plan, PeerRole::Server, &url, WORK_MS, recorder).await?);
        }
        Ok(())
    };
    tokio::try_join!(load.run(&amqp, recorder), killing)?;
    recorder.figure("kills", kills);
    recorder.check_nothing_lost().await?;
    let summary = recorder.summary();
    ensure!(summary.acknowledged == summary.attempted, "not all calls were answered: {summary}");
    Ok(())
}
