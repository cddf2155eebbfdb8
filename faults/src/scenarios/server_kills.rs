//! Server processes are killed in turn under calls: others answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use polywire_amqp::Amqp;
use tokio::time::sleep;

use crate::Plan;
use crate::book::Book;
use crate::broker::Broker;
use crate::calls::Calls;
use crate::dice::Dice;
use crate::peer::{Peer, Role};

const SERVERS: usize = 3;
/// Long enough for some requests to be under way whenever a server is killed.
const WORK_MS: u64 = 5;

pub(crate) async fn run(plan: &Plan, book: &Arc<Book>) -> Result<()> {
    let (kills, total, callers) = (plan.pick(3, 30), plan.pick(900, 15_000), plan.pick(20, 100));
    let broker = Broker::start().await?;
    let url = plan.url(&broker.url);
    let mut servers = VecDeque::new();
    for _ in 0..SERVERS {
        servers.push_back(Peer::start(plan, Role::Server, &url, WORK_MS, book).await?);
    }
    let amqp = Amqp::connect(&url).await?;
    let load = Calls { total, callers, timeout: Duration::from_secs(60), pause: Duration::ZERO };
    let killing = async {
        let mut dice = Dice::new(plan.seed);
        for kill in 0..kills {
            book.until_ended(kill * total / kills).await?;
            sleep(dice.up_to_ms(20)).await;
            if let Some(server) = servers.pop_front() {
                server.kill().await?;
            }
            servers.push_back(Peer::start(plan, Role::Server, &url, WORK_MS, book).await?);
        }
        Ok(())
    };
    tokio::try_join!(load.make(&amqp, book), killing)?;
    book.figure("kills", kills);
    book.nothing_is_lost().await?;
    let sum = book.sum();
    ensure!(sum.acknowledged == sum.attempted, "not all calls were answered: {sum}");
    Ok(())
}
