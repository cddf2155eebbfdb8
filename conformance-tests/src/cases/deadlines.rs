//! Deadlines of calls.
//!
//! A deadline travels as the time that remains. Core enforces it at both sides; the transport
//! carries it. Bounds in these cases are wide, for machines that are busy with something else.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use futures_util::future::join_all;
use polywire_codec::MessagePack;
use polywire_core::{Address, CallError, Context, Deadline, Router, Server, Transport, Window};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::receive::next_request;
use super::services::gated;
use crate::context::TestContext;
use crate::context::running_server::RunningServer;
use crate::names::SERVICE;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, in_time, within};

/// The longest transit of a message, on a machine that is busy with something else.
///
/// A case that must not depend on the speed of the machine waits for this time.
const TRANSIT_MAX: Duration = Duration::from_secs(2);

/// A request whose deadline has passed never reaches the handler.
///
/// The server is bound and starts serving only after the call has timed out.
///
/// Three calls have a timeout of 100 ms: one without a mark, one that is idempotent, and one that
/// runs at most once. A later call shows that the server has processed the queue.
///
/// Catches backends that compute the deadline anew when a queued request is received.
pub async fn expired_request_never_starts(context: &TestContext) -> Verdict {
    let transport = context.serving().await?;
    let server = in_time(Server::bind(&transport, SERVICE)).await?;
    let client = context.client().await?;
    for mark in 0..3 {
        let brief = client.request("run").timeout(Duration::from_millis(100));
        let brief = match mark {
            0 => brief,
            1 => brief.idempotent(),
            _ => brief.at_most_once(),
        };
        let outcome = brief.call::<u32>(&13).await;
        ensure!(
            matches!(outcome, Err(CallError::DeadlineExceeded(_))),
            "without a server at work, the call ended with {outcome:?}"
        );
    }

    // The shortest transit time is not known to the server. Its deadline is later by that time.
    tokio::time::sleep(TRANSIT_MAX).await;

    let started = Arc::new(AtomicUsize::new(0));
    let counter = started.clone();
    let _serving = RunningServer::start(
        transport,
        server,
        Router::new(MessagePack).method("run", move |n: u32| {
            if n == 13 {
                counter.fetch_add(1, Ordering::SeqCst);
            }
            async move { Ok(n) }
        }),
    );
    // A request that was queued before this call is processed before this call is answered.
    let reply: u32 = client.call("run", &14).await.or_fail("a call in time is answered")?;
    ensure!(reply == 14, "a call in time got {reply}");
    let started = started.load(Ordering::SeqCst);
    ensure!(started == 0, "the handler ran {started} times for expired requests");
    Ok(())
}

/// A handler slower than the deadline is dropped, and its call times out.
///
/// The client must not give up before the deadline of 300 ms, and must give up within 5 s after it.
/// The server counts the request as expired.
///
/// Catches wires that lose the deadline of a request.
pub async fn slow_handler_is_dropped(context: &TestContext) -> Verdict {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let gate = Arc::new(Semaphore::new(0));
    let handler_gate = gate.clone();
    let router = Router::new(MessagePack)
        .method("stall", move |(): ()| {
            let gate = handler_gate.clone();
            async move {
                // Never resolves: no permit is ever added.
                let _ = gate.acquire().await;
                Ok(())
            }
        })
        .method("quick", |(): ()| async move { Ok(()) });
    let server = context.serve(router).await?;
    let client = context.client().await?;
    client.call::<()>("quick", &()).await.or_fail("a quick call is answered")?;

    let start = Instant::now();
    let outcome = client.request("stall").timeout(TIMEOUT).call::<()>(&()).await;
    let took = start.elapsed();
    ensure!(
        matches!(outcome, Err(CallError::DeadlineExceeded(_))),
        "the call ended with {outcome:?}"
    );
    ensure!(took >= TIMEOUT, "the call gave up after {took:?}, before its deadline");
    ensure!(took < TIMEOUT + Duration::from_secs(5), "the call timed out only after {took:?}");
    eventually("the handler is dropped", || {
        let stats = server.handle.stats();
        stats.running == 0 && stats.expired == 1
    })
    .await?;
    client.call::<()>("quick", &()).await.or_fail("the server goes on")?;
    ensure!(
        client.stats().in_flight == 0,
        "{} calls are in flight in the end",
        client.stats().in_flight
    );
    Ok(())
}

/// Calls that timed out take no room from later calls.
///
/// 500 concurrent calls time out, and then 500 calls succeed one after the other.
///
/// Catches requesters with a bounded number of places that only a reply frees.
pub async fn expired_calls_leave_room(context: &TestContext) -> Verdict {
    let router = Router::new(MessagePack)
        .method("stall", |(): ()| async { Ok(std::future::pending::<u32>().await) })
        .method("quick", |(): ()| async { Ok(()) });
    let _server = context.serve(router).await?;
    let client = context.client().await?;
    let brief = client.with_timeout(Duration::from_millis(200));
    for outcome in join_all((0..500).map(|_| brief.call::<u32>("stall", &()))).await {
        ensure!(
            matches!(outcome, Err(CallError::DeadlineExceeded(_))),
            "a stalled call ended with {outcome:?}"
        );
    }
    for n in 0..500 {
        client
            .call::<()>("quick", &())
            .await
            .or_fail(&format!("after 500 expired calls, call {n}"))?;
    }
    Ok(())
}

/// The handler knows the deadline of its caller.
///
/// The handler sees at least half of the 30 s of its caller, and no more than that.
///
/// Catches wires that carry a point in time instead of the time that remains: two clocks differ.
pub async fn deadline_travels(context: &TestContext) -> Verdict {
    let router = Router::new(MessagePack).method("left", |context: Context, (): ()| async move {
        Ok(context.deadline.map(Deadline::remaining_ms))
    });
    let _server = context.serve(router).await?;
    let client = context.client().await?;
    let left: Option<u64> =
        client.request("left").timeout(PATIENCE).call(&()).await.or_fail("the call is answered")?;
    let left = left.or_fail("the handler sees a deadline")?;
    let sent = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    ensure!(left <= sent, "{left} ms are left of {sent} ms");
    ensure!(left >= sent / 2, "only {left} ms are left of {sent} ms");
    Ok(())
}

/// The time that a request waits before its server takes it counts against its deadline.
///
/// The request waits for a second behind another one, which occupies the only place of the server.
/// The time that its handler has left differs by less than 100 ms from the time that its caller has
/// left at that moment.
///
/// The deadline of the call is 20 s. Both remaining times are noted in the report.
///
/// Catches wires that say how much time is left, and not since when.
pub async fn time_in_a_queue_counts(context: &TestContext) -> Verdict {
    const TIMEOUT: Duration = Duration::from_secs(20);
    const ERROR_MAX: u64 = 100;
    let gate = Arc::new(Semaphore::new(0));
    let (seen, mut sees) = mpsc::unbounded_channel();
    let router = gated(&gate).method("left", move |context: Context, (): ()| {
        let _ = seen.send((context.deadline, Instant::now()));
        async { Ok(()) }
    });
    let server = context.serve_within(Window::new(1), router).await?;
    let client = context.client().await?;
    let occupying = client.request("wait").start::<u32>(&1).or_fail("a call starts")?;
    eventually("a call occupies the server", || server.handle.stats().running == 1).await?;
    let deadline = Deadline::after(TIMEOUT);
    let waiting =
        client.request("left").deadline(deadline).start::<()>(&()).or_fail("it starts")?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    gate.add_permits(1);
    occupying.await.or_fail("the call that occupies the server is answered")?;
    waiting.await.or_fail("the call that waited is answered")?;
    let (seen, at) = sees.recv().await.or_fail("the handler has run")?;
    let seen = seen.or_fail("the handler sees a deadline")?;
    let left = |deadline: Deadline| {
        let left = deadline.instant().saturating_duration_since(at).as_millis();
        u64::try_from(left).unwrap_or(u64::MAX)
    };
    let (at_the_caller, at_the_server) = (left(deadline), left(seen));
    context.note(format!("{at_the_server} ms left at the server, {at_the_caller} at the caller"));
    ensure!(
        at_the_server.abs_diff(at_the_caller) < ERROR_MAX,
        "the handler has {at_the_server} ms left, and its caller {at_the_caller} ms"
    );
    Ok(())
}

/// When the deadline of a call passes, its client notifies the server, which may estimate a later
/// one.
///
/// The responder has no deadline of its own in this case: it holds the request, and waits for the
/// notification. That of a dropped call differs.
///
/// The first call expires after 2 s. The second one is dropped long before its deadline of 10
/// minutes.
///
/// Catches backends that notify a server of dropped calls alone, or without the reason.
///
/// Needs the capability `cancellation`.
pub async fn server_is_notified_when_a_deadline_passes(context: &TestContext) -> Verdict {
    context.require("cancellation", |can| can.cancellation).await?;
    let transport = context.serving().await?;
    let service = Address::new(SERVICE).or_fail("the service has a name")?;
    let (_replies, mut requests) =
        in_time(transport.responder(&service, Window::default())).await?;
    // After the responder: a client without a broker connects to the endpoints that are bound.
    let client = context.client().await?;
    for is_expired in [true, false] {
        let limit = if is_expired { TRANSIT_MAX } else { 20 * PATIENCE };
        let call = client.request("hold").timeout(limit).start::<()>(&());
        let call = call.or_fail("a call starts")?;
        let held = next_request(&mut requests).await?;
        if is_expired {
            ensure!(call.await.is_err(), "a request that is held was answered");
        } else {
            drop(call);
        }
        // As core does while its window is full.
        let abandoned = poll_fn(|cx| {
            if let Poll::Ready(call) = requests.poll_abandoned(cx) {
                return Poll::Ready(call);
            }
            ready!(requests.poll_read_ahead(cx));
            requests.poll_abandoned(cx)
        });
        let what = "the server learns that the caller has gone";
        let abandoned = within(PATIENCE, what, abandoned).await?;
        ensure!(
            abandoned.is_expired == is_expired,
            "a call whose deadline passed: {is_expired}; the server learned {}",
            abandoned.is_expired
        );
        held.receipt.ack();
    }
    transport.close().await.or_fail("the transport closes")
}
