//! Jobs over links that are cut, and over brokers that go away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{join, join_all};
use polywire_codec::MessagePack;
use polywire_core::{Pusher, Window, Worker};
use tokio::time::Instant;

use super::cuts::{cut_again_and_again, nothing_is_lost, outcome_of};
use super::recovery::{BRIEF, jobs_flow_again};
use crate::cases::receive::next_job;
use crate::cases::task::AbortOnDrop;
use crate::context::TestContext;
use crate::hook::Hook;
use crate::names::QUEUE;
use crate::operation_log::{OperationLog, OperationOutcome};
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, in_time};

/// After a cut, jobs flow again between an open pusher and an open worker.
///
/// The link is cut three times. The pusher and the puller reconnect by themselves, within 30 s.
///
/// Catches pushers and pullers that do not reconnect.
///
/// Needs the capability `pipeline` and the hook `sever`.
pub async fn worker_receives_again_after_a_cut(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require_hook(Hook::Sever)?;
    let mut jobs = context.puller(Window::new(4)).await?;
    let pusher =
        in_time(Pusher::connect(&context.calling().await?, QUEUE, MessagePack).timeout(BRIEF))
            .await?;
    for round in 0..3_u32 {
        context.disturb(Hook::Sever).await?;
        jobs_flow_again(&pusher, &mut jobs, round).await?;
    }
    Ok(())
}

/// Under repeated cuts, each push ends, and every acknowledged job is done.
///
/// 16 tasks push while the link is cut after every 200 acknowledged pushes, five times. A job that
/// was not acknowledged may arrive or not.
///
/// Catches confirms that are taken for granted when the link is cut.
///
/// Needs the capabilities `pipeline` and `durable` and the hook `sever`.
pub async fn no_acknowledged_job_is_lost_over_a_cut(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("durable", |can| can.durable).await?;
    context.require_hook(Hook::Sever)?;
    let log = Arc::new(OperationLog::new());
    let _working = working(context, &log).await?;
    let pusher = context.pusher().await?;
    let over = AtomicBool::new(false);
    let push = async || {
        while !over.load(Ordering::Acquire) {
            let id = log.attempt();
            log.finish(id, outcome_of(&pusher.push(&id).await));
            // Pushes may end at once, in memory. Other tasks need a turn.
            tokio::task::yield_now().await;
        }
    };
    let load = join_all((0..16).map(|_| push()));
    let ((), cut) = join(async { drop(load.await) }, async {
        let cut = cut_again_and_again(context, &log, 5).await;
        over.store(true, Ordering::Release);
        cut
    })
    .await;
    cut?;
    nothing_is_lost(context, &log).await
}

/// Jobs whose push succeeded outlive a broker that is killed.
///
/// 100 jobs wait in the queue when the broker dies.
///
/// Catches queues and messages that the broker keeps in memory only.
///
/// Needs the capabilities `pipeline` and `durable` and the hook `restart-broker`.
pub async fn jobs_outlive_a_restart_of_the_broker(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("durable", |can| can.durable).await?;
    context.require_hook(Hook::RestartBroker)?;
    let log = Arc::new(OperationLog::new());
    let pusher = context.pusher().await?;
    for _ in 0..100 {
        let id = log.attempt();
        pusher.push(&id).await.or_fail("a push before the restart")?;
        log.finish(id, OperationOutcome::Acknowledged);
    }
    context.disturb(Hook::RestartBroker).await?;
    let id = log.attempt();
    log.finish(id, outcome_of(&pusher.push(&id).await));
    let _working = working(context, &log).await?;
    nothing_is_lost(context, &log).await
}

/// A worker whose delivery the broker took back is served again, with that job and with others.
///
/// The broker closes the channel of the consumer. The job is redelivered, and its late
/// acknowledgement has no effect.
///
/// The broker takes the delivery back after about a second, as the hook demands.
///
/// Catches backends that reconnect when their connection closes, and not when a channel does.
///
/// Needs the capability `pipeline` and the hook `impatient-broker`.
pub async fn worker_that_holds_a_job_too_long_receives_again(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require_hook(Hook::ImpatientBroker)?;
    context.disturb(Hook::ImpatientBroker).await?;
    let mut jobs = context.puller(Window::new(2)).await?;
    let pusher = context.pusher().await?;
    pusher.push(&1).await.or_fail("a push")?;
    let held = next_job(&mut jobs).await?;
    // The broker takes the delivery back and redelivers it over the same connection.
    let again = next_job(&mut jobs).await?;
    ensure!(*again == 1, "job 1 was held too long, and {} came", *again);
    ensure!(again.context().is_redelivered(), "a redelivered job is not marked so");
    again.ack();
    // Too late: the delivery belongs to another channel by now, so this must have no effect.
    held.ack();
    pusher.push(&2).await.or_fail("a push")?;
    let next = next_job(&mut jobs).await?;
    ensure!(*next == 2, "job 2 was due, and {} came", *next);
    next.ack();
    Ok(())
}

/// The job of a process that was killed comes back within the time that the space names.
///
/// The worker settles nothing: it holds its job when the link is cut, and ends. The time counts
/// from the cut until the job arrives at a worker that is bound after it, marked as redelivered.
/// [`Space::redelivery_max`](crate::Space::redelivery_max) is the bound, of 30 s at most.
///
/// Catches carriers that notice the death of a consumer by a long timeout.
///
/// Needs the capabilities `pipeline` and `settlement` and the hook `sever`.
pub async fn job_of_a_killed_worker_comes_back_in_time(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("settlement", |can| can.settlement).await?;
    context.require_hook(Hook::Sever)?;
    let limit = context.redelivery_max();
    ensure!(limit <= PATIENCE, "the space names {limit:?}, and {PATIENCE:?} is the most");
    let mut jobs = context.puller(Window::new(1)).await?;
    let pusher = context.pusher().await?;
    pusher.push(&7_u32).await.or_fail("a push")?;
    let held = next_job(&mut jobs).await?;
    context.disturb(Hook::Sever).await?;
    let cut = Instant::now();
    drop(jobs);
    let mut others = context.puller(Window::new(1)).await?;
    let job = next_job(&mut others).await?;
    let took = cut.elapsed();
    context.note(format_args!("the job of a killed worker came back after {took:.2?}"));
    ensure!(took <= limit, "the job of a killed worker came back after {took:?}, not {limit:?}");
    ensure!(*job == 7, "the job 7 of a killed worker was due, and {} came", *job);
    ensure!(job.context().is_redelivered(), "a redelivered job is not marked so");
    job.ack();
    // The process that held it is gone: nothing of it settles the job.
    held.ack();
    Ok(())
}

/// Starts a worker that logs the effect of each job.
///
/// The window is 64. A job counts as soon as its handler begins.
async fn working(context: &TestContext, log: &Arc<OperationLog>) -> Verdict<AbortOnDrop> {
    let transport = context.serving().await?;
    let worker =
        in_time(Worker::bind(&transport, QUEUE, MessagePack).window(Window::new(64))).await?;
    let seen = log.clone();
    let work = worker.work(move |id: u64| {
        seen.effect(id);
        async { Ok(()) }
    });
    Ok(AbortOnDrop::new(tokio::spawn(work)))
}
