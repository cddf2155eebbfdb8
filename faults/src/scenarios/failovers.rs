//! The nodes of a cluster are killed in turn under calls, jobs and events: all continue at the
//! other nodes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use polywire_amqp::Amqp;
use polywire_rabbitmq_node::Node;
use tokio::time::Instant;

use crate::Plan;
use crate::broker::Brokers;
use crate::calls::Calls;
use crate::flows::Flows;
use crate::peer::{Peer, PeerRole};
use crate::recorder::Recorder;

/// Nodes of the cluster. Two of them are a majority, so one may fail.
const NODES: usize = 3;
/// The timeout of each call.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between the calls of each caller: nodes that start need most of the machine.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs the scenario on three nodes: each is killed once in a quick run, four times in a full one.
///
/// Calls, jobs and events of a group must flow while a node is down. Events of an exclusive queue
/// must flow again after the restart.
///
/// The load is 20 callers, beside jobs and events. Each node writes its list of queues to disk
/// before the first kill.
///
/// # Errors
///
/// If traffic does not flow again within the bound of every wait, or if an operation is lost.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    let brokers = Brokers::start(NODES).await?;
    let url = plan.url(&brokers.url);
    let _servers = [
        Peer::start(plan, PeerRole::Server, &url, 1, recorder).await?,
        Peer::start(plan, PeerRole::Server, &url, 1, recorder).await?,
    ];
    let (sending, receiving) = (Amqp::connect(&url).await?, Amqp::connect(&url).await?);
    let flows = Flows::start(&sending, &receiving, TIMEOUT, recorder).await?;
    for node in 0..NODES {
        brokers.with(node, |node| node.remember_queues()).await?;
    }
    let load = Calls { total: usize::MAX, callers: 20, timeout: TIMEOUT, pause: PAUSE };
    let killing = async {
        let killed = kill_in_turn(&brokers, plan.pick(1, 4), &flows, recorder).await;
        recorder.stop();
        killed
    };
    tokio::try_join!(load.run(&sending, recorder), killing)?;
    flows.finish().await?;
    recorder.check_nothing_lost().await
}

/// Kills and restarts each node. A transport connects to the first node, and to the next one after
/// a loss: so the killed node is the one in use.
///
/// At least 100 operations end before each kill. The figure is the longest time from a kill until
/// all traffic flowed over the other nodes.
async fn kill_in_turn(
    brokers: &Brokers,
    rounds: usize,
    flows: &Flows,
    recorder: &Recorder,
) -> Result<()> {
    let mut slowest = Duration::ZERO;
    for node in (0..NODES).cycle().take(rounds * NODES) {
        recorder.until_ended(recorder.ended() + 100).await?;
        brokers.with(node, Node::kill).await?;
        let start = Instant::now();
        flows.until_flowing().await?;
        slowest = slowest.max(start.elapsed());
        brokers.with(node, Node::restart).await?;
        flows.until_exclusive_flowing().await.context("after the restart")?;
    }
    recorder.figure("failovers", rounds * NODES);
    recorder.figure("all worked again within", format!("{:.1} s", slowest.as_secs_f64()));
    Ok(())
}
