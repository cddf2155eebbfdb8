//! The broker runs out of memory for a while: callers are held up until their deadlines, those who
//! settle are not, and then all goes on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use polywire_amqp::{Amqp, ConnectionChange, ConnectionEvents};
use polywire_codec::MessagePack;
use polywire_core::{Job, Puller, Pusher, Transport, Window};
use tokio::time::Instant;

use crate::Plan;
use crate::book::Book;
use crate::broker::Broker;
use crate::calls::Calls;
use crate::patience::{until, until_some, within};
use crate::peer::{Peer, Role};

/// Jobs that are held while the alarm begins.
const HELD: usize = 50;
const QUEUE: &str = "held";
/// The deadline of each call.
const BRIEF: Duration = Duration::from_secs(3);

pub(crate) async fn run(plan: &Plan, book: &Arc<Book>) -> Result<()> {
    let broker = Broker::start().await?;
    let url = plan.url(&broker.url);
    let _server = Peer::start(plan, Role::Server, &url, 1, book).await?;
    let calling = Amqp::connect(&url).await?;
    let load = Calls { total: usize::MAX, callers: 20, timeout: BRIEF, pause: Duration::ZERO };
    let disturbing = async {
        for _ in 0..plan.pick(1, 5) {
            book.until_ended(book.ended() + 200).await?;
            alarm(&broker, &url, &calling, book).await?;
        }
        book.until_ended(book.ended() + 200).await?;
        book.finish();
        Ok(())
    };
    tokio::try_join!(load.make(&calling, book), disturbing)?;
    book.nothing_is_lost().await
}

/// Sets the alarm, looks at what goes on and what does not, and clears it.
async fn alarm(broker: &Broker, url: &str, calling: &Amqp, book: &Book) -> Result<()> {
    let (working, leaving) = (Amqp::connect(url).await?, Amqp::connect(url).await?);
    let (_puller, held) = hold(&working).await?;
    let mut events = calling.events();
    // Of what was on its way when the alarm began, and of what was held and is known not to have
    // left.
    let deadlines = || {
        let failures = book.failures();
        ["deadline", "DeadlineExceeded, unsent"]
            .iter()
            .filter_map(|kind| failures.get(*kind))
            .sum::<usize>()
    };
    let before = deadlines();

    broker.ctl(["set_vm_memory_high_watermark", "0.000001"]).await?;
    within(
        "it is told that the broker takes no messages",
        told(&mut events, |change| matches!(change, ConnectionChange::Blocked(_))),
    )
    .await??;
    until("calls are held up until their deadlines", || deadlines() > before + 20).await?;

    let start = Instant::now();
    held.into_iter().for_each(Job::ack);
    until_some("all that was held is acknowledged", || async {
        // Ready, and given out.
        let said = broker.ctl(["list_queues", "name", "messages"]).await.ok()?;
        said.lines().any(|line| line == format!("polywire.jobs.{QUEUE}\t0")).then_some(())
    })
    .await?;
    book.figure(
        "acknowledged during the alarm within",
        format!("{:.1} s", start.elapsed().as_secs_f64()),
    );
    let start = Instant::now();
    within("a transport closes during the alarm", leaving.close()).await??;
    book.figure(
        "closed during the alarm within",
        format!("{:.1} s", start.elapsed().as_secs_f64()),
    );

    let acknowledged = book.sum().acknowledged;
    broker.ctl(["set_vm_memory_high_watermark", "0.4"]).await?;
    until("calls are answered again", || book.sum().acknowledged > acknowledged + 20).await
}

/// Takes jobs, and settles none of them. They stay with the puller.
async fn hold(amqp: &Amqp) -> Result<(Puller<u64>, Vec<Job<u64>>)> {
    let mut jobs: Puller<u64> =
        Puller::bind(amqp, QUEUE, MessagePack).window(Window::new(HELD)).await?;
    let pusher = Pusher::connect(amqp, QUEUE, MessagePack).await?;
    let mut held = Vec::new();
    for job in 0..HELD as u64 {
        pusher.push(&job).await?;
        held.push(within("a job comes", jobs.next()).await?.context("the puller is open")??);
    }
    Ok((jobs, held))
}

/// Waits until such a change is told.
async fn told(
    events: &mut ConnectionEvents,
    is_it: impl Fn(&ConnectionChange) -> bool,
) -> Result<()> {
    while !is_it(&events.next().await.context("the transport is there")?.change) {}
    Ok(())
}
