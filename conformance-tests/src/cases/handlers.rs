//! Handlers that run to their end, even if their callers leave, and handlers that come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::rpc::uncancelled;
use polywire_core::{CallError, Code, Router, Transport};
use tokio::sync::Semaphore;

use super::services::use_permit;
use crate::context::TestContext;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, within};

/// The time after which the callers give up.
const BRIEF: Duration = Duration::from_millis(300);

/// An uncancelled handler that has begun runs to its end, even if its caller leaves.
///
/// The deadline of one caller passes, and another caller cancels. The handlers of two ordinary
/// calls, whose callers do the same, show when the server has noticed.
///
/// Without the capability `cancellation`, the ordinary handler of the caller that cancels goes on,
/// and only the passed deadline is counted.
///
/// Catches backends that take an abandoned request away from its server.
pub async fn uncancelled_handler_outlives_its_caller(context: &TestContext) -> Verdict {
    let handlers = Handlers::default();
    let server = context.serve(handlers.router()).await?;
    let transport = context.calling().await?;
    let client = context.client_on(&transport).await?;
    let start = |method: &'static str| {
        let call = client.request(method).timeout(BRIEF).start::<()>(&());
        let other = client.request(method).start::<()>(&());
        call.and_then(|call| Ok((call, other?))).or_fail("the calls start")
    };
    let (late, dropped) = start("transfer")?;
    eventually("the uncancelled handlers begin", || handlers.begun() == 2).await?;
    let (ordinary, ordinary_dropped) = start("ordinary")?;
    eventually("all handlers begin", || server.handle.stats().running == 4).await?;
    drop((dropped, ordinary_dropped));
    for call in [late, ordinary] {
        let outcome = within(PATIENCE, "a call ends by its deadline", call).await?;
        let is_late = matches!(outcome, Err(CallError::DeadlineExceeded(_)));
        ensure!(is_late, "the call ended with {outcome:?}");
    }
    let cancels = u64::from(transport.capabilities().cancellation);
    eventually("the ordinary handlers stop", || {
        let stats = server.handle.stats();
        stats.expired == 1 && stats.cancelled == cancels
    })
    .await?;
    ensure!(handlers.ended() == 0, "{} handlers have ended before their time", handlers.ended());
    handlers.gate.add_permits(2);
    eventually("the uncancelled handlers end", || handlers.ended() == 2).await?;
    client.call::<()>("quick", &()).await.or_fail("the server goes on")?;
    ensure!(handlers.begun() == 2, "two requests were begun {} times", handlers.begun());
    Ok(())
}

/// A drain waits for an uncancelled handler whose caller has gone.
///
/// A second server shares the service. It gets the later calls, and not the request that runs.
///
/// The ordinary call has a deadline of 3 s, so its handler stops without cancellation as well.
///
/// Catches backends that redeliver the running requests of a server that stops to receive.
pub async fn drain_waits_for_an_uncancelled_handler(context: &TestContext) -> Verdict {
    let (handlers, others) = (Handlers::default(), Handlers::default());
    let server = context.serve(handlers.router()).await?;
    let transport = context.calling().await?;
    let client = context.client_on(&transport).await?;
    let dropped = client.request("transfer").start::<()>(&()).or_fail("a call starts")?;
    eventually("the uncancelled handler begins", || handlers.begun() == 1).await?;
    let ordinary = client.request("ordinary").timeout(10 * BRIEF).start::<()>(&());
    let ordinary = ordinary.or_fail("a call starts")?;
    eventually("both handlers run", || server.handle.stats().running == 2).await?;
    drop((dropped, ordinary));
    // Without cancellation the callers are gone as well, and the handlers do not know.
    let cancels = u64::from(transport.capabilities().cancellation);
    eventually("the other handler stops", || {
        let stats = server.handle.stats();
        stats.running == 1 && stats.cancelled == cancels
    })
    .await?;
    let _other = context.serve(others.router()).await?;
    let handle = server.handle.clone();
    let draining = tokio::spawn(async move { handle.drain().await });
    let another = context.client().await?;
    // Answered by the other server, or refused by the one that drains.
    let answered = async { while another.call::<()>("quick", &()).await.is_err() {} };
    within(PATIENCE, "the other server answers", answered).await?;
    ensure!(!draining.is_finished(), "draining ended while a handler ran");
    ensure!(handlers.ended() == 0, "the handler has ended before its time");
    handlers.gate.add_permits(1);
    within(PATIENCE, "draining ends", draining).await?.or_fail("draining does not panic")?;
    ensure!(handlers.ended() == 1, "draining ended before the handler");
    let begun = handlers.begun() + others.begun();
    ensure!(begun == 1, "one request was begun {begun} times");
    Ok(())
}

/// Methods are added and removed while their server runs, and each call gets the method of its
/// time.
///
/// A method that was missing is added, and then replaced. The handler that runs when its method is
/// removed ends as if nothing had happened, and later calls get a fault.
///
/// The price of 7 is 14 by the first method, and 21 by the one in its place.
///
/// Catches backends that remember the methods of a server, or its answers.
pub async fn methods_change_while_the_server_runs(context: &TestContext) -> Verdict {
    let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (handler_gate, begins) = (gate.clone(), begun.clone());
    let wait = move |n: u32| {
        let gate = handler_gate.clone();
        begins.fetch_add(1, Ordering::SeqCst);
        async move {
            use_permit(&gate).await;
            Ok(n)
        }
    };
    let router = Router::new(MessagePack).method("wait", wait).live();
    let _server = context.serve(router.clone()).await?;
    let client = context.client().await?;
    let expect_missing = async || match client.call::<u32>("price", &2).await {
        Err(CallError::Fault(fault)) if fault.code == Code::MethodNotFound => Ok(()),
        other => Err(Failure::new(format!("a call of a missing method ended with {other:?}"))),
    };
    expect_missing().await?;
    for factor in [2, 3] {
        let price = move |n: u32| async move { Ok(factor * n) };
        router.add_method("price", price).or_fail("a method is added")?;
        let reply = client.call::<u32>("price", &7).await.or_fail("the added method answers")?;
        ensure!(reply == factor * 7, "the method of factor {factor} answered {reply} to 7");
        ensure!(router.remove_method("price"), "the method was not there to be removed");
        expect_missing().await?;
    }
    let running = client.request("wait").start::<u32>(&5).or_fail("a call starts")?;
    // Not the number of running handlers: that of the call before may still be counted.
    eventually("the handler begins", || begun.load(Ordering::SeqCst) == 1).await?;
    ensure!(router.remove_method("wait"), "the method that runs was not there to be removed");
    gate.add_permits(1);
    let reply = running.await.or_fail("the handler of a removed method answers")?;
    ensure!(reply == 5, "the handler of a removed method answered {reply}");
    Ok(())
}

/// The handlers of a server, which wait for permits, and their counts.
#[derive(Clone, Default)]
struct Handlers(Arc<Counts>);

/// Counts of the method `transfer` alone. The statistics of the server show the other handlers.
struct Counts {
    /// Each permit ends one handler.
    gate: Semaphore,
    /// Handlers that have begun, those that have ended included.
    begun: AtomicUsize,
    /// Handlers that have come to their end. A handler that is dropped does not count.
    ended: AtomicUsize,
}

impl Default for Counts {
    fn default() -> Self {
        Self { gate: Semaphore::new(0), begun: AtomicUsize::new(0), ended: AtomicUsize::new(0) }
    }
}

impl std::ops::Deref for Handlers {
    type Target = Counts;

    fn deref(&self) -> &Counts {
        &self.0
    }
}

impl Handlers {
    /// An uncancelled method `transfer`, a method `ordinary` that never ends, and a `quick` one.
    fn router(&self) -> Router<MessagePack> {
        let handlers = self.clone();
        let transfer = move |(): ()| {
            let handlers = handlers.clone();
            async move {
                handlers.begun.fetch_add(1, Ordering::SeqCst);
                use_permit(&handlers.gate).await;
                handlers.ended.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        };
        Router::new(MessagePack)
            .method("transfer", uncancelled(transfer))
            .method("ordinary", |(): ()| async { Ok(std::future::pending::<u32>().await) })
            .method("quick", |(): ()| async { Ok(()) })
    }
}

impl Counts {
    /// Returns the number of handlers of `transfer` that have begun.
    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Returns the number of handlers of `transfer` that have ended by themselves.
    fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}
