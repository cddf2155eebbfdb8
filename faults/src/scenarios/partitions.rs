//! The nodes of a cluster lose one another under calls, jobs and events: callers get an error by
//! their deadlines, and nothing that was acknowledged is lost.

mod partition;
mod times;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use polywire_amqp::Amqp;
use polywire_rabbitmq_node::{Host, Network, Setup};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use self::partition::{NODES, Partition};
use self::times::{Progress, Times};
use crate::Plan;
use crate::broker::Brokers;
use crate::calls::Calls;
use crate::flows::Flows;
use crate::not_run::NotRun;
use crate::peer::{Peer, PeerRole};
use crate::recorder::Recorder;
use crate::wait::within_bound;

/// The timeout of each call: shorter than a cut, so that callers reach it.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Duration of a cut: the nodes notice within 1.25 times the tick time, and act upon it.
const CUT: Duration = Duration::from_secs(12);
/// Pause between the calls of each caller: nodes that start need most of the machine.
const PAUSE: Duration = Duration::from_millis(50);
/// Cuts in a round of flapping.
const FLAPS: usize = 4;

/// Nodes notice after 4 to 6 seconds that another one is silent, in place of 45 to 75. A node that
/// sees no majority stops serving; versions with another store ignore that setting.
const CONFIG: &str = "net_ticktime = 5\ncluster_partition_handling = pause_minority";

/// Runs the scenario on three nodes in network namespaces of their own: each kind of partition once
/// in a quick run, five times in a full one.
///
/// Traffic must flow within a cut if the clients reach a majority that stays together, and the
/// nodes of the minority pause. It must flow again after each cut.
///
/// The load is 20 callers, beside jobs and events. The sending transport prefers the first node,
/// the receiving one the second, and the servers the second and the third.
///
/// # Errors
///
/// [`NotRun`] if this machine cannot make network namespaces. If traffic does not flow within the
/// bound of every wait, if a call outlasts its deadline, or if an operation is lost.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    let network = Arc::new(create_network().await?);
    let setup = Setup::new().config(CONFIG).network(&network);
    let brokers = Brokers::start_with(setup, NODES).await?;
    // Each program prefers another node.
    let urls: Vec<_> = (0..NODES).map(|first| plan.url(&brokers.url_from(first))).collect();
    let _servers = [
        Peer::start(plan, PeerRole::Server, &urls[1], 1, recorder).await?,
        Peer::start(plan, PeerRole::Server, &urls[2], 1, recorder).await?,
    ];
    let (sending, receiving) = (Amqp::connect(&urls[0]).await?, Amqp::connect(&urls[1]).await?);
    let flows = Flows::start(&sending, &receiving, TIMEOUT, recorder).await?;
    let pauses = pauses_minorities(&brokers).await?;
    let cluster = Cluster { brokers, network, flows, pauses };
    let load = Calls { total: usize::MAX, callers: 20, timeout: TIMEOUT, pause: PAUSE };
    let cutting = async {
        let cut = cluster.cut_in_turn(plan, recorder).await;
        recorder.stop();
        cut
    };
    tokio::try_join!(load.run(&sending, recorder), cutting)?;
    cluster.flows.finish().await?;
    recorder.check_nothing_lost().await
}

/// Creates the network of the nodes.
///
/// # Errors
///
/// [`NotRun`] if this machine cannot make network namespaces.
async fn create_network() -> Result<Network> {
    spawn_blocking(|| Network::create(NODES)).await?.map_err(|error| match error.kind() {
        io::ErrorKind::Unsupported => NotRun(error.to_string()).into(),
        _ => error.into(),
    })
}

/// Returns whether a node without a majority stops serving. From 4.2 on, new clusters have a store
/// with which such a node goes on.
async fn pauses_minorities(brokers: &Brokers) -> Result<bool> {
    let version = brokers.with(0, |node| node.ctl(&["version"])).await?;
    let mut numbers = version.trim().split('.').map_while(|number| number.parse::<u32>().ok());
    let version = numbers.next().zip(numbers.next()).context("RabbitMQ states no version")?;
    Ok(version < (4, 2))
}

/// The cluster, its links, and its traffic.
struct Cluster {
    brokers: Brokers,
    network: Arc<Network>,
    flows: Flows,
    /// True if a node without a majority stops serving.
    pauses: bool,
}

impl Cluster {
    /// Runs each kind of partition several times.
    ///
    /// At least 100 operations end before each cut. The seed decides on the times of flapping, and
    /// the round on the nodes.
    async fn cut_in_turn(&self, plan: &Plan, recorder: &Recorder) -> Result<()> {
        let mut rng = Rng::with_seed(plan.seed);
        let mut all = BTreeMap::<_, Times>::new();
        for round in 0..plan.pick(1, 5) {
            for partition in Partition::ALL {
                recorder.until_ended(recorder.ended() + 100).await?;
                let times = all.entry(partition).or_default();
                let ran = self.cut(partition, round, times, recorder, &mut rng).await;
                recorder.figure(partition.name(), *times);
                ran.with_context(|| format!("partition: {partition}, round {round}"))?;
            }
        }
        Ok(())
    }

    /// Cuts some links, heals them, and waits until the cluster is whole again.
    ///
    /// Without a majority that the clients reach, at least one operation has to fail meanwhile.
    /// After the cut, all traffic has to flow, that of exclusive queues included.
    async fn cut(
        &self,
        partition: Partition,
        round: usize,
        times: &mut Times,
        recorder: &Recorder,
        rng: &mut Rng,
    ) -> Result<()> {
        let links = partition.cuts(round);
        let before = Progress::of(recorder);
        let flowed = match partition {
            Partition::Flapping => self.flap(&links, rng).await.map(|()| false)?,
            _ => self.flow_within(partition, &links).await?,
        };
        let progress = Progress::of(recorder).since(before);
        ensure!(
            !partition.takes_the_majority() || progress.failed > 0,
            "no operation failed without a majority"
        );
        self.heal().await?;
        let healed = Instant::now();
        self.flows.until_flowing().await.context("after the cut")?;
        self.flows.until_exclusive_flowing().await.context("after the cut")?;
        times.add(progress, flowed, healed.elapsed());
        self.until_whole().await
    }

    /// Cuts links for a while. Returns whether traffic flowed over the others in the end.
    ///
    /// # Errors
    ///
    /// If it does not flow although it must.
    async fn flow_within(&self, partition: Partition, links: &[(Host, Host)]) -> Result<bool> {
        self.cut_links(links).await?;
        // Traffic that flows before the nodes notice proves nothing.
        sleep(CUT).await;
        if partition == Partition::Minority && self.pauses {
            self.flows.until_flowing().await.context("beside a minority")?;
            return Ok(true);
        }
        let flowed = timeout(BRIEF, self.flows.until_flowing()).await;
        Ok(flowed.is_ok_and(|flowed| flowed.is_ok()))
    }

    /// Cuts and heals links every few seconds.
    ///
    /// A cut lasts from 0.5 to 5 seconds, and the pause after it from 0.5 to 3 seconds.
    async fn flap(&self, links: &[(Host, Host)], rng: &mut Rng) -> Result<()> {
        for _ in 0..FLAPS {
            self.cut_links(links).await?;
            sleep(Duration::from_millis(rng.u64(500..5_000))).await;
            self.heal().await?;
            sleep(Duration::from_millis(rng.u64(500..3_000))).await;
        }
        Ok(())
    }

    /// Cuts each direction. The other links stay as they are.
    async fn cut_links(&self, links: &[(Host, Host)]) -> Result<()> {
        let (network, links) = (self.network.clone(), links.to_owned());
        let cutting = move || links.iter().try_for_each(|(from, to)| network.cut(*from, *to));
        spawn_blocking(cutting).await?.context("cannot cut a link")
    }

    /// Heals all links. The nodes may need some time to join again.
    async fn heal(&self) -> Result<()> {
        let network = self.network.clone();
        spawn_blocking(move || network.heal()).await?.context("cannot heal the links")
    }

    /// Waits until each node serves clients.
    ///
    /// All nodes together have [`JOIN_MAX`].
    async fn until_whole(&self) -> Result<()> {
        let joining = async {
            for node in 0..NODES {
                while !self.serves(node).await {
                    sleep(Duration::from_millis(50)).await;
                }
            }
        };
        within_bound("each node serves clients", JOIN_MAX, joining).await
    }

    /// Returns whether a node serves clients.
    async fn serves(&self, node: usize) -> bool {
        let serves = self.brokers.with(node, |node| Ok(node.answers())).await;
        serves.is_ok_and(|serves| serves)
    }
}

/// Time that the nodes have to join again. A node that comes back from a pause waits for the tables
/// of the others, by default ten times for 30 seconds, and gives up after that.
const JOIN_MAX: Duration = Duration::from_mins(6);

/// Time that traffic has to flow within a cut, where it need not.
const BRIEF: Duration = Duration::from_secs(2);
