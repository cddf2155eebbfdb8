//! The broker runs out of memory for a while: calls wait until their deadlines, settling goes on,
//! and calls succeed again afterwards.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use polywire_amqp::{Amqp, ConnectionChange, ConnectionEvents};
use polywire_codec::MessagePack;
use polywire_core::{Job, Puller, Pusher, Transport, Window};
use tokio::time::Instant;

use crate::Plan;
use crate::broker::Broker;
use crate::calls::Calls;
use crate::peer::{Peer, PeerRole};
use crate::recorder::Recorder;
use crate::wait::{until, until_some, within};

/// Jobs that are unsettled when the alarm begins.
const HELD: usize = 50;
/// The queue of these jobs.
const QUEUE: &str = "held";
/// The deadline of each call.
const BRIEF: Duration = Duration::from_secs(3);

/// Runs the scenario: one alarm in a quick run, five in a full one.
///
/// During an alarm, calls must fail at their deadlines, acknowledgements of jobs must reach the
/// broker, and a transport must close. After the alarm, calls must succeed again.
///
/// The load is 20 callers without a pause. At least 200 operations end before each alarm, and after
/// the last one.
///
/// # Errors
///
/// If one of these does not happen within the bound of every wait, or if an operation is lost.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    let broker = Broker::start().await?;
    let url = plan.url(&broker.url);
    let _server = Peer::start(plan, PeerRole::Server, &url, 1, recorder).await?;
    let calling = Amqp::connect(&url).await?;
    let load = Calls { total: usize::MAX, callers: 20, timeout: BRIEF, pause: Duration::ZERO };
    let disturbing = async {
        for _ in 0..plan.pick(1, 5) {
            recorder.until_ended(recorder.ended() + 200).await?;
            alarm(&broker, &url, &calling, recorder).await?;
        }
        recorder.until_ended(recorder.ended() + 200).await?;
        recorder.stop();
        Ok(())
    };
    tokio::try_join!(load.run(&calling, recorder), disturbing)?;
    recorder.check_nothing_lost().await
}

/// Sets the alarm, checks which operations go on, and clears the alarm.
///
/// A memory limit near zero sets the alarm, and the limit 0.4 clears it. More than 20 calls must
/// fail at their deadlines meanwhile, and more than 20 must be answered afterwards. The jobs must
/// be acknowledged at the broker before the alarm ends.
///
/// The transports are new for each alarm, so that the one that closes has no calls.
async fn alarm(broker: &Broker, url: &str, calling: &Amqp, recorder: &Recorder) -> Result<()> {
    let (working, leaving) = (Amqp::connect(url).await?, Amqp::connect(url).await?);
    let (_puller, held) = hold(&working).await?;
    let mut events = calling.events();
    // Deadlines of requests that were sent before the alarm, and of requests that were never sent.
    let deadlines = || {
        let failures = recorder.failures();
        ["deadline", "DeadlineExceeded, unsent"]
            .iter()
            .filter_map(|kind| failures.get(*kind))
            .sum::<usize>()
    };
    let before = deadlines();

    broker.ctl(["set_vm_memory_high_watermark", "0.000001"]).await?;
    within(
        "the event arrives that the broker blocks publishers",
        wait_for(&mut events, |change| matches!(change, ConnectionChange::Blocked(_))),
    )
    .await??;
    until("calls fail at their deadlines", || deadlines() > before + 20).await?;

    let start = Instant::now();
    held.into_iter().for_each(Job::ack);
    until_some("all unsettled jobs are acknowledged", || async {
        // Ready and unacknowledged messages.
        let queues = broker.ctl(["list_queues", "name", "messages"]).await.ok()?;
        queues.lines().any(|line| line == format!("polywire.jobs.{QUEUE}\t0")).then_some(())
    })
    .await?;
    recorder.figure(
        "acknowledged during the alarm within",
        format!("{:.1} s", start.elapsed().as_secs_f64()),
    );
    let start = Instant::now();
    within("a transport closes during the alarm", leaving.close()).await??;
    recorder.figure(
        "closed during the alarm within",
        format!("{:.1} s", start.elapsed().as_secs_f64()),
    );

    let acknowledged = recorder.summary().acknowledged;
    broker.ctl(["set_vm_memory_high_watermark", "0.4"]).await?;
    until("calls are answered again", || recorder.summary().acknowledged > acknowledged + 20).await
}

/// Receives jobs, and settles none: they stay with the puller.
///
/// The window has the size of the load, so that the puller gets all jobs.
async fn hold(amqp: &Amqp) -> Result<(Puller<u64>, Vec<Job<u64>>)> {
    let mut jobs: Puller<u64> =
        Puller::bind(amqp, QUEUE, MessagePack).window(Window::new(HELD)).await?;
    let pusher = Pusher::connect(amqp, QUEUE, MessagePack).await?;
    let mut held = Vec::new();
    for job in 0..HELD as u64 {
        pusher.push(&job).await?;
        held.push(within("a job arrives", jobs.next()).await?.context("the puller is closed")??);
    }
    Ok((jobs, held))
}

/// Waits for an event that matches.
async fn wait_for(
    events: &mut ConnectionEvents,
    is_it: impl Fn(&ConnectionChange) -> bool,
) -> Result<()> {
    while !is_it(&events.next().await.context("the transport is closed")?.change) {}
    Ok(())
}
