//! The nodes of a cluster are killed in turn, each while calls, jobs and events go through it: all
//! goes on at the others.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::Client;
use polywire_rabbitmq_node::Node;
use tokio::time::Instant;

use crate::Plan;
use crate::book::Book;
use crate::broker::Brokers;
use crate::calls::{Calls, SERVICE, call};
use crate::patience::within;
use crate::peer::{Peer, Role};
use crate::traffic::{Pattern, Traffic};

const NODES: usize = 3;
/// Of each call.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Between the calls of each caller: nodes that start have the machine to themselves, or nearly.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) async fn run(plan: &Plan, book: &Arc<Book>) -> Result<()> {
    let brokers = Brokers::start(NODES).await?;
    let url = plan.url(&brokers.url);
    let _servers = [
        Peer::start(plan, Role::Server, &url, 1, book).await?,
        Peer::start(plan, Role::Server, &url, 1, book).await?,
    ];
    let (sending, taking) = (Amqp::connect(&url).await?, Amqp::connect(&url).await?);
    let lines = Lines {
        calls: Client::connect(&sending, SERVICE, MessagePack).await?,
        jobs: Traffic::start(Pattern::Jobs, "jobs", &sending, &taking, book).await?,
        group: Traffic::start(Pattern::GroupEvents, "group", &sending, &taking, book).await?,
        own: Traffic::start(Pattern::Events, "own", &sending, &taking, &Arc::default()).await?,
    };
    for node in 0..NODES {
        brokers.with(node, |node| node.remember_queues()).await?;
    }
    let load = Calls { total: usize::MAX, callers: 20, timeout: TIMEOUT, pause: PAUSE };
    let killing = async {
        let killed = kill_in_turn(&brokers, plan.pick(1, 4), &lines, book).await;
        book.finish();
        killed
    };
    tokio::try_join!(load.make(&sending, book), killing)?;
    lines.finish().await?;
    book.nothing_is_lost().await
}

/// What goes on.
struct Lines {
    calls: Client<MessagePack>,
    jobs: Traffic,
    group: Traffic,
    /// Its queue is on one node, and nothing reaches its subscriber without that; so nothing is
    /// promised to it, and its book is one that nobody reads.
    own: Traffic,
}

impl Lines {
    /// Waits until all go on that can without a node.
    async fn until_they_flow(&self, book: &Book) -> Result<()> {
        within("calls are answered without the node", async {
            while call(&self.calls, TIMEOUT, book).await.is_err() {}
        })
        .await?;
        self.jobs.until_it_flows().await.context("jobs")?;
        self.group.until_it_flows().await.context("events of a group")
    }

    async fn finish(self) -> Result<()> {
        self.jobs.finish().await?;
        self.group.finish().await
    }
}

/// Ends begin at the first node, and go on to the next when it is lost: so the one that is killed
/// is the one in use.
async fn kill_in_turn(brokers: &Brokers, rounds: usize, lines: &Lines, book: &Book) -> Result<()> {
    let mut slowest = Duration::ZERO;
    for node in (0..NODES).cycle().take(rounds * NODES) {
        book.until_ended(book.ended() + 100).await?;
        brokers.with(node, Node::kill).await?;
        let start = Instant::now();
        lines.until_they_flow(book).await?;
        slowest = slowest.max(start.elapsed());
        brokers.with(node, Node::restart).await?;
        lines
            .own
            .until_it_flows()
            .await
            .context("events of a subscriber of its own, after the restart")?;
    }
    book.figure("failovers", rounds * NODES);
    book.figure("all worked again within", format!("{:.1} s", slowest.as_secs_f64()));
    Ok(())
}
