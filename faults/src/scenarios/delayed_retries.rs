//! Jobs fail once and wait for their retry, while queues of waiting jobs end their leases.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use polywire_amqp::Amqp;
use polywire_core::DeadLetters;

use crate::Plan;
use crate::broker::Broker;
use crate::jobs::{Jobs, QUEUE};
use crate::peer::{Peer, PeerRole};
use crate::recorder::Recorder;

/// Runs the scenario: ten jobs a second for six seconds with a delay of two in a quick run, five
/// jobs a second for seven minutes with a delay of 16 s in a full one.
///
/// The first attempt at each job fails, and the second one is the effect. The queue of the waiting
/// jobs is in use all the time, for longer than a queue that is not in use would last: a second
/// beyond the delay in a quick run, and the default of five minutes in a full one.
///
/// One pusher pushes at a steady pace, and one worker takes 16 jobs at a time. So there are 60 jobs
/// in a quick run, and 2,100 in a full one.
///
/// # Errors
///
/// If a confirmed job is never done, or becomes a dead letter.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    let (seconds, a_second) = plan.pick((6, 10), (420, 5));
    let delay_ms = plan.pick(2_000, 16_000);
    let broker = Broker::start().await?;
    let url = plan.url(&broker.url);
    let _worker = Peer::start(plan, PeerRole::RetryingWorker, &url, delay_ms, recorder).await?;
    let amqp = Amqp::connect(&url).await?;
    let pause = Duration::from_secs(1) / a_second;
    let total = seconds * usize::try_from(a_second)?;
    Jobs { total, pushers: 1, pause }.push(&amqp, recorder).await?;
    recorder.figure("delay", format!("{delay_ms} ms"));
    recorder.check_nothing_lost().await?;
    let dead = DeadLetters::of_queue(&amqp, QUEUE)?.look(total).await?.len();
    recorder.figure("dead letters", dead);
    ensure!(dead == 0, "{dead} jobs are dead letters");
    Ok(())
}
