//! The broker is killed again and again under calls: each call ends, and what was acknowledged was
//! done.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use polywire_amqp::Amqp;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Plan;
use crate::book::Book;
use crate::broker::Broker;
use crate::calls::Calls;
use crate::dice::Dice;
use crate::patience::until;
use crate::peer::{Peer, Role};

pub(crate) async fn run(plan: &Plan, book: &Arc<Book>) -> Result<()> {
    let (kills, total, callers) = (plan.pick(3, 20), plan.pick(600, 10_000), plan.pick(20, 100));
    let broker = Broker::start().await?;
    let url = plan.url(&broker.url);
    let _plain = Peer::start(plan, Role::Server, &url, 1, book).await?;
    let careful = Peer::start(plan, Role::CarefulServer, &url, 1, book).await?;
    let amqp = Amqp::connect(&url).await?;
    broker.with(|node| node.remember_queues()).await?;
    let load = Calls { total, callers, timeout: Duration::from_secs(30), pause: Duration::ZERO };
    tokio::try_join!(
        load.make(&amqp, book),
        kill_again_and_again(&broker, plan.seed, kills, total, book)
    )?;
    book.figure("kills", kills);
    book.nothing_is_lost().await?;
    let repeated = book.repeated_by(careful.number);
    ensure!(repeated == 0, "a server that suppresses duplicates did {repeated} calls again");
    Ok(())
}

/// Kills within the first half of each share of the calls, so that some are in flight at each kill.
async fn kill_again_and_again(
    broker: &Broker,
    seed: u64,
    kills: usize,
    total: usize,
    book: &Arc<Book>,
) -> Result<()> {
    let mut dice = Dice::new(seed);
    let share = total / kills;
    let mut recoveries = JoinSet::new();
    for kill in 0..kills {
        let ended = kill * share + usize::try_from(dice.below(share as u64 / 2))?;
        book.until_ended(ended).await?;
        sleep(dice.up_to_ms(20)).await;
        broker.kill().await?;
        sleep(dice.up_to_ms(1000)).await;
        broker.restart().await?;
        recoveries.spawn(answered_again(book.clone()));
    }
    let mut slowest = Duration::ZERO;
    while let Some(recovery) = recoveries.join_next().await {
        slowest = slowest.max(recovery??);
    }
    book.figure("answered again within", format!("{:.1} s", slowest.as_secs_f64()));
    Ok(())
}

/// How long it takes from now until a call is answered.
async fn answered_again(book: Arc<Book>) -> Result<Duration> {
    let start = Instant::now();
    let before = book.sum().acknowledged;
    until("a call is answered after a restart", || book.sum().acknowledged > before).await?;
    Ok(start.elapsed())
}
