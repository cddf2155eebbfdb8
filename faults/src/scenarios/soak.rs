//! The broker is restarted every 20 seconds, for minutes: nothing that was acknowledged is lost,
//! and memory stays flat.

mod memory;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use polywire_amqp::Amqp;
use tokio::time::{Instant, sleep, sleep_until};

use self::memory::Samples;
use crate::Plan;
use crate::book::Book;
use crate::broker::Broker;
use crate::calls::Calls;
use crate::jobs::Jobs;
use crate::peer::{Peer, Role};

const RESTART_EVERY: Duration = Duration::from_secs(20);
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// What each of the callers and pushers waits between two operations: speed is not what is looked
/// at.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn run(plan: &Plan, book: &Arc<Book>) -> Result<()> {
    book.forget();
    let broker = Broker::start().await?;
    let url = plan.url(&broker.url);
    let server = Peer::start(plan, Role::CarefulServer, &url, 1, book).await?;
    let worker = Peer::start(plan, Role::Worker, &url, 1, book).await?;
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
            // On a machine that takes long for it, something has to happen in between.
            next = (next + RESTART_EVERY).max(Instant::now() + RESTART_EVERY / 4);
            restarts += 1;
        }
        sleep_until(end).await;
        book.finish();
        Ok(restarts)
    };
    let mut watched = [
        Samples::of("the client", std::process::id()),
        Samples::of("the server", server.id().context("the server runs")?),
        Samples::of("the worker", worker.id().context("the worker runs")?),
    ];
    let watching = async {
        while !book.is_over() {
            watched.iter_mut().try_for_each(Samples::take)?;
            sleep(SAMPLE_EVERY).await;
        }
        Ok(())
    };
    let (restarts, ..) =
        tokio::try_join!(restarting, calls.make(&amqp, book), jobs.push(&amqp, book), watching)?;
    book.figure("restarts", restarts);
    for samples in &watched {
        book.figure(samples.name, samples);
    }
    book.nothing_is_lost().await?;
    watched.iter().try_for_each(Samples::are_flat)
}
