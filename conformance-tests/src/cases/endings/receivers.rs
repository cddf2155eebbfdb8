//! Workers that end while jobs are on their way to them, and receivers that log what arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{join, join_all};
use polywire_codec::MessagePack;
use polywire_core::worker::WorkHandle;
use polywire_core::{AnyTransport, Pusher, Subscriber, Transport, Window, Worker};
use tokio::sync::Notify;

use crate::cases::outages::cuts::{nothing_is_lost, outcome_of};
use crate::cases::receive::next_job;
use crate::cases::task::AbortOnDrop;
use crate::context::TestContext;
use crate::names::QUEUE;
use crate::operation_log::{OperationLog, OperationOutcome};
use crate::verdict::Verdict;
use crate::wait::{PATIENCE, in_time, within};

/// Jobs on their way to a worker that drains, closes or is dropped are done by another worker.
///
/// Four tasks push without a pause to four workers. One worker drains, the transport of another is
/// closed, and a puller is dropped with a job that it holds. Every job whose push succeeded is done
/// in the end.
///
/// Catches workers that end with jobs in their buffer, and brokers that take those for done.
///
/// Needs the capabilities `pipeline` and `settlement`.
pub async fn jobs_of_workers_that_end_are_done(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("settlement", |can| can.settlement).await?;
    let shared = Load::default();
    let log = &shared.log;
    let draining = LoggingWorker::start(context, log).await?;
    let closing = LoggingWorker::start(context, log).await?;
    let _staying = LoggingWorker::start(context, log).await?;
    let mut dropping = context.puller_of::<u64>(Window::new(8)).await?;
    let pusher = context.pusher().await?;
    let load = join_all((0..4).map(|_| push_until_over(&shared, &pusher)));
    let ((), ended) = join(async { drop(load.await) }, async {
        let ended = async {
            // Each handle has jobs of its own when it ends.
            let held = next_job(&mut dropping).await?;
            shared.goes_on_for(200).await?;
            within(PATIENCE, "a worker under load drains", draining.handle.drain()).await?;
            shared.goes_on_for(200).await?;
            in_time(closing.transport.close()).await?;
            shared.goes_on_for(200).await?;
            drop((held, dropping));
            Ok(())
        };
        let ended = ended.await;
        shared.is_over.store(true, Ordering::Release);
        ended
    })
    .await;
    ended?;
    nothing_is_lost(context, log).await
}

/// Pushes until the load has ended.
async fn push_until_over(load: &Load, pusher: &Pusher<MessagePack>) {
    while !load.is_over.load(Ordering::Acquire) {
        load.operate(async |id: u64| outcome_of(&pusher.push(&id).await)).await;
    }
}

/// A load of operations, whose log is looked at after each of them: no time passes in between, also
/// on a clock that is paused.
#[derive(Default)]
pub(super) struct Load {
    pub(super) log: Arc<OperationLog>,
    is_over: AtomicBool,
    ended: Notify,
}

impl Load {
    /// Logs an operation. Other tasks get a turn, since it may end at once, in memory.
    pub(super) async fn operate(&self, operation: impl AsyncFnOnce(u64) -> OperationOutcome) {
        let id = self.log.attempt();
        let outcome = operation(id).await;
        self.log.finish(id, outcome);
        self.ended.notify_one();
        tokio::task::yield_now().await;
    }

    /// Waits until this many more operations are acknowledged.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`](crate::Failure::Failed), if no operation ends within 30 s.
    pub(super) async fn goes_on_for(&self, more: usize) -> Verdict {
        let target = self.log.summary().acknowledged + more;
        loop {
            let count = self.log.summary().acknowledged;
            if count >= target {
                return Ok(());
            }
            let what = format!("operations are acknowledged: {count} of {target}, and another");
            within(PATIENCE, &what, self.ended.notified()).await?;
        }
    }
}

/// A worker that logs the effect of each job when its handler begins.
pub(super) struct LoggingWorker {
    pub(super) handle: WorkHandle,
    pub(super) transport: AnyTransport,
    _task: AbortOnDrop,
}

impl LoggingWorker {
    /// Starts a worker with a window of 8 in a process of its own.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`](crate::Failure::Failed), if it cannot be bound.
    pub(super) async fn start(context: &TestContext, log: &Arc<OperationLog>) -> Verdict<Self> {
        let transport = context.serving().await?;
        let worker = Worker::bind(&transport, QUEUE, MessagePack).window(Window::new(8));
        let worker = in_time(worker).await?;
        let (handle, seen) = (worker.handle(), log.clone());
        let work = worker.work(move |id: u64| {
            seen.effect(id);
            async { Ok(()) }
        });
        let task = AbortOnDrop::new(tokio::spawn(work));
        Ok(Self { handle, transport, _task: task })
    }
}

/// Starts a subscriber to all events that logs the effect of each, until the result is dropped.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if it cannot be bound.
pub(super) async fn log_events(
    context: &TestContext,
    log: &Arc<OperationLog>,
) -> Verdict<AbortOnDrop> {
    let mut events: Subscriber<u64> = context.subscriber(["#"]).await?;
    let seen = log.clone();
    Ok(AbortOnDrop::new(tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Ok(event) = event {
                seen.effect(*event);
            }
        }
    })))
}
