//! Servers that compete, drain and die.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use polywire_codec::MessagePack;
use polywire_core::message::CallId;
use polywire_core::rpc::ServerHandle;
use polywire_core::transport::{Delivery, Receiver};
use polywire_core::{CallError, Code, Context, ErrorKind, Router, Transport, Window};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::calls::eventually;
use super::faults::raw_request;
use crate::stage::{PATIENCE, SERVICE, bound};
use crate::verdict::ensure;
use crate::{Failure, OrFail, Serving, Stage, Verdict};

/// Requests are spread over competing servers.
pub async fn competing_servers_share(stage: &Stage) -> Verdict {
    const WINDOW: usize = 8;
    let gate = Arc::new(Semaphore::new(0));
    let mut servers = Vec::new();
    for name in ["first", "second", "third"] {
        servers.push(stage.serve_within(Window::new(WINDOW), stuck(&gate, name)).await?);
    }
    let client = stage.client().await?;
    let busy = |server: &Serving| server.handle.stats().running == WINDOW as u64;
    let mut calls = Vec::new();
    // Nobody answers before everybody has work, so it does not matter how fast each is; and a call
    // at a time, since one of them may be reached later than the others.
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
pub async fn window_bounds_the_work(stage: &Stage) -> Verdict {
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
    let _server = stage.serve_within(Window::new(WINDOW), router).await?;
    let client = stage.client().await?;
    for reply in join_all((0..200).map(|_| client.call::<()>("work", &()))).await {
        reply.or_fail("each call is answered")?;
    }
    let most = most.load(Ordering::SeqCst);
    ensure!(most <= WINDOW, "{most} requests ran at once in a window of {WINDOW}");
    ensure!(most > 1, "the requests ran one by one");
    Ok(())
}

/// A server that drains finishes what runs and refuses or hands back the rest.
pub async fn draining_server_finishes_and_refuses(stage: &Stage) -> Verdict {
    const RUNNING: u64 = 4;
    let gate = Arc::new(Semaphore::new(0));
    let server = stage.serve_within(Window::new(16), stuck(&gate, "first")).await?;
    let client = stage.client().await?;
    let start = |n: u64| client.request("wait").start::<String>(&n);
    let running: Vec<_> =
        (0..RUNNING).map(start).collect::<Result<_, _>>().or_fail("calls start")?;
    eventually("the requests arrive", || server.handle.stats().running == RUNNING).await?;

    let draining = begin_to_drain(&server.handle);
    ensure!(!draining.is_finished(), "draining ended while {RUNNING} requests ran");
    // From here on, a call is refused, or waits for another server.
    let late = start(99).or_fail("a late call starts")?;
    gate.add_permits(RUNNING as usize);
    for call in running {
        let name = call.await.or_fail("what ran is answered")?;
        ensure!(name == "first", "what ran was answered by the {name} server");
    }
    draining.await.or_fail("draining ends")?;
    ensure!(
        server.handle.stats().running == 0,
        "{} requests still run",
        server.handle.stats().running
    );

    let other = Arc::new(Semaphore::new(9));
    let _second = stage.serve(stuck(&other, "second")).await?;
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

/// While a server drains, others get what is sent.
pub async fn draining_server_leaves_the_rest_to_others(stage: &Stage) -> Verdict {
    stage.require("settlement", |can| can.settlement).await?;
    let gate = Arc::new(Semaphore::new(0));
    let draining = stage.serve_within(Window::new(16), stuck(&gate, "draining")).await?;
    let client = stage.client().await?;
    let start = |n: u64| client.request("wait").start::<String>(&n);
    let running: Vec<_> = (0..2).map(start).collect::<Result<_, _>>().or_fail("calls start")?;
    eventually("the requests arrive", || draining.handle.stats().running == 2).await?;

    let end = begin_to_drain(&draining.handle);
    // The other is full at once, so that whoever else takes requests has time to.
    let other_gate = Arc::new(Semaphore::new(0));
    let _other = stage.serve_within(Window::new(1), stuck(&other_gate, "other")).await?;
    let mut later: Vec<_> = (2..42).map(start).collect::<Result<_, _>>().or_fail("calls start")?;
    for call in &mut later {
        call.sent().await;
    }
    other_gate.add_permits(later.len());
    for call in later {
        let name =
            call.await.or_fail("what is sent to a draining server is answered by another")?;
        ensure!(
            name == "other",
            "the {name} server answered what it should have left to the other"
        );
    }
    gate.add_permits(2);
    for call in running {
        let name = call.await.or_fail("what ran is answered")?;
        ensure!(name == "draining", "what ran was answered by the {name} server");
    }
    end.await.or_fail("draining ends")?;
    let refused = draining.handle.stats().refused;
    ensure!(refused == 0, "{refused} requests were refused although another server was there");
    Ok(())
}

/// An end holds no more unsettled deliveries than its window; what is beyond waits where others can
/// take it.
pub async fn window_bounds_unsettled_deliveries(stage: &Stage) -> Verdict {
    stage.require("settlement", |can| can.settlement).await?;
    let service = SERVICE.try_into().or_fail("the service has a name")?;
    let first = stage.serving().await?;
    let (_replies, mut narrow) = bound(first.responder(&service, Window::new(2))).await?;
    let calling = stage.calling().await?;
    let (requests, _replies_in) = bound(calling.requester(&service)).await?;
    for n in 0..3 {
        let mut message = raw_request("any")?.message;
        message.id = Some(CallId(n));
        bound(requests.send(message)).await?;
    }
    let held = [next(&mut narrow).await?, next(&mut narrow).await?];
    let second = stage.serving().await?;
    let (_replies, mut wide) = bound(second.responder(&service, Window::new(9))).await?;
    let third = tokio::select! {
        biased;
        _ = next(&mut narrow) => return Err(Failure::new("a third request came through a window of two")),
        third = next(&mut wide) => third?,
    };
    ensure!(third.message.id != held[0].message.id, "a request that was held went to another, too");
    third.receipt.ack();
    // With room again, the narrow end is served again.
    for delivery in held {
        delivery.receipt.ack();
    }
    drop(wide);
    let mut message = raw_request("any")?.message;
    message.id = Some(CallId(3));
    bound(requests.send(message)).await?;
    next(&mut narrow).await?.receipt.ack();
    Ok(())
}

/// Tells a server to drain, and goes on waiting for it.
fn begin_to_drain(handle: &ServerHandle) -> JoinHandle<()> {
    let handle = handle.clone();
    let mut draining = Box::pin(async move { handle.drain().await });
    // The first poll says it; a task of its own might say it only later.
    let _ = draining.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    tokio::spawn(draining)
}

async fn next(receiver: &mut Receiver) -> Verdict<Delivery> {
    let next = tokio::time::timeout(PATIENCE, receiver.next())
        .await
        .or_fail("a request arrives in time")?;
    next.or_fail("a request arrives")?.or_fail("a request can be read")
}

/// The requests that a dying server held go to another one, marked as redelivered.
pub async fn requests_of_a_dead_server_go_on(stage: &Stage) -> Verdict {
    stage.require("settlement", |can| can.settlement).await?;
    let never = Arc::new(Semaphore::new(0));
    let dying = stage.serve_within(Window::new(4), stuck(&never, "dying")).await?;
    let client = stage.client().await?;
    let start = |n: u64| client.request("wait").start::<String>(&n);
    let calls: Vec<_> = (0..4).map(start).collect::<Result<_, _>>().or_fail("calls start")?;
    eventually("the requests arrive", || dying.handle.stats().running == 4).await?;
    let router = Router::new(MessagePack).method("wait", |context: Context, _: u64| async move {
        Ok(if context.is_redelivered() { "again" } else { "first time" })
    });
    let _heir = stage.serve(router).await?;
    drop(dying);
    for call in calls {
        let how = call.await.or_fail("a call whose server died is answered")?;
        ensure!(
            how == "again",
            "a request that a dead server had held came as delivered for the {how}"
        );
    }
    Ok(())
}

/// A request to a server that runs each at most once goes to nobody else if that server dies.
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method has one lifetime, and not any"
)]
pub async fn request_run_at_most_once_goes_to_nobody_else(stage: &Stage) -> Verdict {
    stage.require("settlement", |can| can.settlement).await?;
    let never = Arc::new(Semaphore::new(0));
    let dying = stage.serve_as(stuck(&never, "dying"), |server| server.at_most_once()).await?;
    let client = stage.client().await?;
    let start = |n: u64| client.request("wait").start::<String>(&n);
    let begun: Vec<_> = (0..4).map(start).collect::<Result<_, _>>().or_fail("calls start")?;
    eventually("the requests arrive", || dying.handle.stats().running == 4).await?;
    let ran = Arc::new(Mutex::new(Vec::new()));
    let story = ran.clone();
    let router = Router::new(MessagePack).method("wait", move |n: u64| {
        story.lock().unwrap_or_else(PoisonError::into_inner).push(n);
        async { Ok("heir") }
    });
    let heir = stage.serve(router).await?;
    drop(dying);
    for n in 4..8 {
        client.call::<String>("wait", &n).await.or_fail("the heir answers")?;
    }
    drop(begun);
    bound(heir.transport.close()).await?;
    let ran = ran.lock().unwrap_or_else(PoisonError::into_inner);
    ensure!(
        *ran == [4, 5, 6, 7],
        "of the requests 0 to 3, which had begun, and 4 to 7, the heir ran {ran:?}"
    );
    Ok(())
}

/// A service whose method `wait` tells the server's name once a permit is there.
fn stuck(gate: &Arc<Semaphore>, name: &'static str) -> Router<MessagePack> {
    let gate = gate.clone();
    Router::new(MessagePack).method("wait", move |_: u64| {
        let gate = gate.clone();
        async move {
            if let Ok(permit) = gate.acquire().await {
                permit.forget();
            }
            Ok(name)
        }
    })
}
