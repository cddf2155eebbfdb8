//! The broker is restarted under jobs: each that was acknowledged is worked off.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use polywire_amqp::Amqp;

use crate::Plan;
use crate::book::Book;
use crate::broker::Broker;
use crate::dice::Dice;
use crate::jobs::Jobs;
use crate::peer::{Peer, Role};

const RESTARTS: usize = 2;

pub(crate) async fn run(plan: &Plan, book: &Arc<Book>) -> Result<()> {
    let total = plan.pick(3_000, 100_000);
    let broker = Broker::start().await?;
    let url = plan.url(&broker.url);
    let _workers = [
        Peer::start(plan, Role::Worker, &url, 0, book).await?,
        Peer::start(plan, Role::Worker, &url, 0, book).await?,
    ];
    let amqp = Amqp::connect(&url).await?;
    broker.with(|node| node.remember_queues()).await?;
    let load = Jobs { total, pushers: 64, pause: Duration::ZERO };
    let restarting = async {
        let mut dice = Dice::new(plan.seed);
        for restart in 0..RESTARTS {
            let share = total / RESTARTS;
            book.until_ended(restart * share + usize::try_from(dice.below(share as u64))? * 3 / 4)
                .await?;
            broker.kill().await?;
            broker.restart().await?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(load.push(&amqp, book), restarting)?;
    book.figure("restarts", RESTARTS);
    book.nothing_is_lost().await?;
    let sum = book.sum();
    ensure!(sum.acknowledged == total, "not all jobs were acknowledged: {sum}");
    Ok(())
}
