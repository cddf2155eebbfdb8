//! Servers and workers that end while calls and jobs are on their way to them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{join, join_all};
use polywire_codec::MessagePack;
use polywire_core::worker::WorkHandle;
use polywire_core::{
    AnyTransport, CallError, Client, Code, Pusher, Router, Transport, Window, Worker,
};
use tokio::sync::Notify;

use crate::cases::disturbed::is_cut_off;
use crate::cases::outages::cuts::{nothing_is_lost, outcome_of};
use crate::cases::receive::next_job;
use crate::cases::task::AbortOnDrop;
use crate::context::TestContext;
use crate::names::QUEUE;
use crate::operation_log::{OperationLog, OperationOutcome};
use crate::verdict::{Failure, Verdict, ensure};
use crate::wait::{PATIENCE, in_time, within};

/// Calls on their way to a server that drains or closes are answered by another server, or fail
/// soon, and none is lost.
///
/// 64 tasks call three servers without a pause, so that requests wait at each. One server drains
/// and the transport of another is closed. Each call is answered, refused as unavailable, or fails
/// as disconnected or unroutable: none waits for its deadline. Every acknowledged call ran, and no
/// call that failed as unsent did.
///
/// Catches servers that end with unanswered requests in a buffer.
pub async fn calls_to_servers_that_end_end_soon(context: &TestContext) -> Verdict {
    let shared = Load::default();
    let serve = async || {
        let runs = shared.log.clone();
        let router = Router::new(MessagePack).method("run", move |id: u64| {
            runs.effect(id);
            async {
                // Requests wait meanwhile.
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
        });
        context.serve_within(Window::new(4), router).await
    };
    let (draining, closing, _staying) = (serve().await?, serve().await?, serve().await?);
    let (client, odd) = (context.client().await?, Mutex::new(None));
    let load = join_all((0..64).map(|_| call_until_over(&shared, &client, &odd)));
    let ((), ended) = join(async { drop(load.await) }, async {
        let ended = async {
            shared.goes_on_for(200).await?;
            within(PATIENCE, "a server under load drains", draining.handle.drain()).await?;
            shared.goes_on_for(200).await?;
            in_time(closing.transport.close()).await?;
            shared.goes_on_for(200).await
        };
        let ended = ended.await;
        shared.is_over.store(true, Ordering::Release);
        ended
    })
    .await;
    let summary = shared.log.summary();
    context.note(summary);
    let odd = odd.into_inner().unwrap_or_else(PoisonError::into_inner);
    odd.map_or(Ok(()), |odd| Err(Failure::new(format!("{odd}; {summary}"))))?;
    ended?;
    ensure!(
        summary.lost + summary.unexpected == 0,
        "the outcomes and the effects disagree: {summary}"
    );
    Ok(())
}

/// Calls until the load has ended. Notes an outcome that no call may have.
async fn call_until_over(load: &Load, client: &Client<MessagePack>, odd: &Mutex<Option<String>>) {
    while !load.is_over.load(Ordering::Acquire) {
        let call = async |id: u64| {
            let outcome = client.call::<()>("run", &id).await;
            let is_refused =
                matches!(&outcome, Err(CallError::Fault(fault)) if fault.code == Code::Unavailable);
            if outcome.is_err() && !is_refused && !is_cut_off(&outcome) {
                let text = format!("a call on its way when its server ended came to {outcome:?}");
                odd.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
            }
            OperationOutcome::of(&outcome)
        };
        load.operate(call).await;
    }
}

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
    /// [`Failure::Failed`], if no operation ends within 30 s.
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
    /// [`Failure::Failed`], if it cannot be bound.
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
