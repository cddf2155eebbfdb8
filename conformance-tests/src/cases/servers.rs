//! Servers that compete, drain and die.
//!
//! Servers of one service compete: each request goes to one of them. A server that drains finishes
//! its requests. A server dies when its task is aborted, as in [`RunningServer`], or when its
//! transport is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use polywire_codec::MessagePack;
use polywire_core::rpc::ServerHandle;
use polywire_core::{
    CallError, CallHandle, Client, Code, Context, ErrorKind, Router, Transport, Window,
};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::receive::next_request;
use super::request::raw_message;
use super::services::gated_with_name;
use crate::context::TestContext;
use crate::context::running_server::RunningServer;
use crate::names::SERVICE;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{eventually, in_time};

/// Requests are spread over competing servers.
///
/// Three servers with a window of 8 must all become full.
///
/// A call is started every 2 ms, until 24 requests run at once. No handler ends before.
///
/// Catches backends that deliver everything to the server that came first, or that is the fastest.
pub async fn competing_servers_share(context: &TestContext) -> Verdict {
    const WINDOW: usize = 8;
    let gate = Arc::new(Semaphore::new(0));
    let mut servers = Vec::new();
    for name in ["first", "second", "third"] {
        servers
            .push(context.serve_within(Window::new(WINDOW), gated_with_name(&gate, name)).await?);
    }
    let client = context.client().await?;
    let busy = |server: &RunningServer| server.handle.stats().running == WINDOW as u64;
    let mut calls = Vec::new();
    // No server answers before all have work, so their speed does not matter. Calls are sent one at
    // a time, since the client may reach one server later than the others.
    eventually("each server has as much work as its window holds", || {
        calls.push(client.request("wait").start::<String>(&1_u64));
        servers.iter().all(busy)
    })
    .await?;
    gate.add_permits(calls.len());
    for call in calls {
        call.or_fail("a call starts")?.await.or_fail("each call is answered")?;
    }
    Ok(())
}

/// No more requests run at once than the window allows.
///
/// 200 concurrent calls meet a window of 4. More than one of them must run at a time, too.
///
/// Each handler yields ten times, so that others could begin meanwhile.
///
/// Catches windows that are ignored, and windows of one.
pub async fn window_bounds_the_work(context: &TestContext) -> Verdict {
    const WINDOW: usize = 4;
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (counter, peak) = (running.clone(), most.clone());
    let router = Router::new(MessagePack).method("work", move |(): ()| {
        let (counter, peak) = (counter.clone(), peak.clone());
        async move {
            peak.fetch_max(counter.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            counter.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    });
    let _server = context.serve_within(Window::new(WINDOW), router).await?;
    let client = context.client().await?;
    for reply in join_all((0..200).map(|_| client.call::<()>("work", &()))).await {
        reply.or_fail("each call is answered")?;
    }
    let most = most.load(Ordering::SeqCst);
    ensure!(most <= WINDOW, "{most} requests ran at once in a window of {WINDOW}");
    ensure!(most > 1, "the requests ran one by one");
    Ok(())
}

/// A server that drains finishes the requests that run, and refuses or requeues the rest.
///
/// A call after the start of draining is answered by another server, or fails as unavailable,
/// unroutable or disconnected.
///
/// Four requests run when the drain begins, and are answered by the server that drains. One of
/// them is idempotent, and one runs at most once.
///
/// Catches backends that close the sending half together with the receiving half, so that replies
/// are lost.
pub async fn draining_server_finishes_and_refuses(context: &TestContext) -> Verdict {
    const RUNNING: u64 = 4;
    let gate = Arc::new(Semaphore::new(0));
    let server = context.serve_within(Window::new(16), gated_with_name(&gate, "first")).await?;
    let client = context.client().await?;
    let start = |n| start_marked(&client, n);
    let running = (0..RUNNING).map(start).collect::<Verdict<Vec<_>>>()?;
    eventually("the requests arrive", || server.handle.stats().running == RUNNING).await?;

    let draining = begin_to_drain(&server.handle);
    ensure!(!draining.is_finished(), "draining ended while {RUNNING} requests ran");
    // From here on, a call is refused, or waits for another server.
    let late = start(99)?;
    gate.add_permits(RUNNING as usize);
    for call in running {
        let name = call.await.or_fail("a request that ran is answered")?;
        ensure!(name == "first", "a request that ran was answered by the {name} server");
    }
    draining.await.or_fail("draining ends")?;
    ensure!(
        server.handle.stats().running == 0,
        "{} requests still run",
        server.handle.stats().running
    );

    let other = Arc::new(Semaphore::new(9));
    let _second = context.serve(gated_with_name(&other, "second")).await?;
    match late.await {
        Ok(name) if name == "second" => Ok(()),
        Err(CallError::Fault(fault)) if fault.code == Code::Unavailable => Ok(()),
        Err(CallError::Failed(error))
            if matches!(error.kind(), ErrorKind::Unroutable | ErrorKind::Disconnected) =>
        {
            Ok(())
        }
        other => Err(Failure::new(format!("a call to a draining server ended with {other:?}"))),
    }
}

/// While a server drains, other servers get the new requests.
///
/// The draining server must refuse none of the 40 calls that follow. A third of them is idempotent,
/// and a third runs at most once.
///
/// The other server has a window of 1 and is full meanwhile, so that the draining one has time to
/// receive by mistake.
///
/// Catches responders that keep consuming after they were stopped.
///
/// Needs the capability `settlement`.
pub async fn draining_server_leaves_the_rest_to_others(context: &TestContext) -> Verdict {
    context.require("settlement", |can| can.settlement).await?;
    let gate = Arc::new(Semaphore::new(0));
    let draining =
        context.serve_within(Window::new(16), gated_with_name(&gate, "draining")).await?;
    let client = context.client().await?;
    let start = |n| start_marked(&client, n);
    let running = (0..2).map(start).collect::<Verdict<Vec<_>>>()?;
    eventually("the requests arrive", || draining.handle.stats().running == 2).await?;

    let end = begin_to_drain(&draining.handle);
    // The other server is full at once, so that the draining one has time to receive by mistake.
    let other_gate = Arc::new(Semaphore::new(0));
    let _other =
        context.serve_within(Window::new(1), gated_with_name(&other_gate, "other")).await?;
    let mut later = (2..42).map(start).collect::<Verdict<Vec<_>>>()?;
    for call in &mut later {
        call.sent().await;
    }
    other_gate.add_permits(later.len());
    for call in later {
        let name = call.await.or_fail("a request to a draining server is answered by another")?;
        ensure!(
            name == "other",
            "the {name} server answered a request that the other was due to get"
        );
    }
    gate.add_permits(2);
    for call in running {
        let name = call.await.or_fail("a request that ran is answered")?;
        ensure!(name == "draining", "a request that ran was answered by the {name} server");
    }
    end.await.or_fail("draining ends")?;
    let refused = draining.handle.stats().refused;
    ensure!(refused == 0, "{refused} requests were refused although another server was there");
    Ok(())
}

/// An endpoint handle holds no more unsettled deliveries than its window; the rest waits where
/// others can get it.
///
/// A responder with a window of 2 holds two requests. The third goes to another responder. After
/// the two are settled, the first responder is served again.
///
/// Catches buffers beside the window, which hold requests that other servers could run.
///
/// Needs the capability `settlement`.
pub async fn window_bounds_unsettled_deliveries(context: &TestContext) -> Verdict {
    context.require("settlement", |can| can.settlement).await?;
    let service = SERVICE.try_into().or_fail("the service has a name")?;
    let first = context.serving().await?;
    let (_replies, mut narrow) = in_time(first.responder(&service, Window::new(2))).await?;
    let calling = context.calling().await?;
    let (requests, _replies_in) = in_time(calling.requester(&service)).await?;
    for n in 0..3 {
        in_time(requests.send(raw_message(n)?)).await?;
    }
    let held = [next_request(&mut narrow).await?, next_request(&mut narrow).await?];
    let second = context.serving().await?;
    let (_replies, mut wide) = in_time(second.responder(&service, Window::new(9))).await?;
    let third = tokio::select! {
        biased;
        _ = next_request(&mut narrow) => return Err(Failure::new("a third request came through a window of two")),
        third = next_request(&mut wide) => third?,
    };
    ensure!(
        third.message.id != held[0].message.id,
        "a request that was held went to another responder, too"
    );
    third.receipt.ack();
    // With room in its window, the first responder is served again.
    for delivery in held {
        delivery.receipt.ack();
    }
    drop(wide);
    in_time(requests.send(raw_message(3)?)).await?;
    next_request(&mut narrow).await?.receipt.ack();
    Ok(())
}

/// The requests that a dying server held go to another server, marked as redelivered.
///
/// The other server sees them as [redelivered](Context::is_redelivered). Every second call is
/// idempotent.
///
/// Catches backends that acknowledge a request when it is delivered instead of when it is settled.
///
/// Needs the capability `settlement`.
pub async fn requests_of_a_dead_server_go_on(context: &TestContext) -> Verdict {
    context.require("settlement", |can| can.settlement).await?;
    let never = Arc::new(Semaphore::new(0));
    let dying = context.serve_within(Window::new(4), gated_with_name(&never, "dying")).await?;
    let client = context.client().await?;
    let start = |n: u64| {
        let request = client.request("wait");
        let request = if n.is_multiple_of(2) { request } else { request.idempotent() };
        request.start::<String>(&n)
    };
    let calls: Vec<_> = (0..4).map(start).collect::<Result<_, _>>().or_fail("calls start")?;
    eventually("the requests arrive", || dying.handle.stats().running == 4).await?;
    let router = Router::new(MessagePack).method("wait", |context: Context, _: u64| async move {
        Ok(if context.is_redelivered() { "again" } else { "first time" })
    });
    let _other = context.serve(router).await?;
    drop(dying);
    for call in calls {
        let how = call.await.or_fail("a call whose server died is answered")?;
        ensure!(
            how == "again",
            "a request that a dead server had held is marked as delivered for the {how}"
        );
    }
    Ok(())
}

/// Starts a call of `wait`. The marks take turns: none, idempotent, at most once.
///
/// # Errors
///
/// [`Failure::Failed`], if the call does not start.
fn start_marked(client: &Client<MessagePack>, n: u64) -> Verdict<CallHandle<String>> {
    let request = client.request("wait");
    let request = match n % 3 {
        0 => request,
        1 => request.idempotent(),
        _ => request.at_most_once(),
    };
    request.start(&n).or_fail("a call starts")
}

/// Starts to drain a server. The task ends when the server has stopped.
fn begin_to_drain(handle: &ServerHandle) -> JoinHandle<()> {
    let handle = handle.clone();
    let mut draining = Box::pin(async move { handle.drain().await });
    // The first poll starts to drain. The task might be polled only later.
    let _ = draining.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    tokio::spawn(draining)
}
