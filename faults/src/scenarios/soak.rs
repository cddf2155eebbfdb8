//! The broker is restarted every 20 seconds, for minutes: no acknowledged operation is lost, and
//! memory stays flat.

mod memory;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use polywire_amqp::Amqp;
use tokio::time::{Instant, sleep, sleep_until};

use self::memory::Samples;
use crate::Plan;
use crate::broker::Broker;
use crate::calls::Calls;
use crate::jobs::Jobs;
use crate::peer::{Peer, PeerRole};
use crate::recorder::Recorder;

/// Time from one kill of the node to the next.
const RESTART_EVERY: Duration = Duration::from_secs(20);
/// Time between two samples of the memory.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Pause of each caller and pusher between two operations: speed does not matter here.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs calls and jobs for the duration of the plan, with a restart of the broker every 20 seconds.
///
/// The memory of the client, the server and the worker is sampled every second.
///
/// The load is 20 callers, with a deadline of 30 seconds for each call, and 10 pushers. After a
/// slow restart, operations have at least 5 seconds until the next kill. The last restart may end
/// after the duration of the plan.
///
/// The recorder keeps totals only: the effects of each process would grow with the load, and count
/// as growth of the client.
///
/// # Errors
///
/// If an operation is lost, or if the memory of a process grows after the start-up.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    recorder.keep_totals_only();
    let broker = Broker::start().await?;
    let url = plan.url(&broker.url);
    let server = Peer::start(plan, PeerRole::CarefulServer, &url, 1, recorder).await?;
    let worker = Peer::start(plan, PeerRole::Worker, &url, 1, recorder).await?;
    let amqp = Amqp::connect(&url).await?;
    broker.with(|node| node.remember_queues()).await?;
    let calls =
        Calls { total: usize::MAX, callers: 20, timeout: Duration::from_secs(30), pause: PAUSE };
    let jobs = Jobs { total: usize::MAX, pushers: 10, pause: PAUSE };
    let start = Instant::now();
    let end = start + plan.soak;
    let restarting = async {
        let (mut restarts, mut next) = (0, start + RESTART_EVERY);
        while next < end {
            sleep_until(next).await;
            broker.kill().await?;
            broker.restart().await?;
            // On a slow machine, operations need time between two restarts.
            next = (next + RESTART_EVERY).max(Instant::now() + RESTART_EVERY / 4);
            restarts += 1;
        }
        sleep_until(end).await;
        recorder.stop();
        Ok(restarts)
    };
    let mut watched = [
        Samples::new("the client", std::process::id()),
        Samples::new("the server", server.id().context("the server has ended")?),
        Samples::new("the worker", worker.id().context("the worker has ended")?),
    ];
    let watching = async {
        while !recorder.is_stopped() {
            watched.iter_mut().try_for_each(Samples::take)?;
            sleep(SAMPLE_EVERY).await;
        }
        Ok(())
    };
    let (restarts, ..) = tokio::try_join!(
        restarting,
        calls.run(&amqp, recorder),
        jobs.push(&amqp, recorder),
        watching
    )?;
    recorder.figure("restarts", restarts);
    for samples in &watched {
        recorder.figure(samples.name, samples);
    }
    recorder.check_nothing_lost().await?;
    watched.iter().try_for_each(Samples::check_flat)
}
