//! A call and its reply.
//!
//! Clients and servers have a transport each, as if each were a process of its own. Every backend
//! must pass all of these cases.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use polywire_codec::MessagePack;
use polywire_core::{CallError, Client, ErrorKind, Router, Server, Transport};
use tokio::sync::Semaphore;

use super::services::gated;
use crate::context::TestContext;
use crate::context::running_server::RunningServer;
use crate::names::SERVICE;
use crate::operation_log::{OperationLog, OperationOutcome};
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, in_time};

/// Each of very many concurrent calls gets its own reply, in any order of finishing.
///
/// There are as many as the space [names](crate::Space::waiting_max): 10,000, if it names no other
/// number, and 1,000 at least. Handlers yield between 0 and 15 times, so that they finish in a
/// shuffled order. At the end no call is in flight, and no reply came twice.
///
/// Catches lost and repeated replies, and replies that are matched by their order instead of their
/// id.
pub async fn replies_reach_their_calls(context: &TestContext) -> Verdict {
    let calls = context.waiting_max();
    ensure!(calls >= WAITING_LEAST, "{calls} requests may wait, and {WAITING_LEAST} are the least");
    let _server = context
        .serve(Router::new(MessagePack).method("square", |n: u64| async move {
            for _ in 0..shuffled(n) % 16 {
                tokio::task::yield_now().await;
            }
            Ok((n, n * n))
        }))
        .await?;
    let client = context.client().await?;
    let numbers: Vec<u64> = (0..u64::from(calls)).collect();
    let replies = join_all(numbers.iter().map(|n| client.call::<(u64, u64)>("square", n))).await;
    for (n, reply) in numbers.into_iter().zip(replies) {
        let (asked, square) = reply.or_fail(&format!("call {n} is answered"))?;
        ensure!(asked == n, "call {n} got the reply to call {asked}");
        ensure!(square == n * n, "call {n} got {square}");
    }
    let stats = client.stats();
    ensure!(stats.in_flight == 0, "{} calls are still in flight", stats.in_flight);
    ensure!(stats.late_replies == 0, "{} replies came twice", stats.late_replies);
    Ok(())
}

/// The least number of requests that must be able to wait.
const WAITING_LEAST: u32 = 1_000;

/// Replies go to the client that called, although the calls of each client have the same ids.
///
/// Two clients make 100 calls each, in turns.
///
/// Catches backends that find the requester by the id of the call, which is unique within one
/// requester only.
pub async fn replies_reach_their_callers(context: &TestContext) -> Verdict {
    let _server = context
        .serve(Router::new(MessagePack).method("echo", |name: String| async { Ok(name) }))
        .await?;
    let clients = [context.client().await?, context.client().await?];
    let call = |n: usize| {
        let client = &clients[n % 2];
        async move { client.call::<String>("echo", &format!("caller {}", n % 2)).await }
    };
    for (n, reply) in join_all((0..200).map(call)).await.into_iter().enumerate() {
        let reply = reply.or_fail("each call is answered")?;
        ensure!(reply == format!("caller {}", n % 2), "caller {} got the reply to {reply}", n % 2);
    }
    Ok(())
}

/// A request runs once if its server lives and its link holds.
///
/// Checked with 1,000 concurrent calls. Each must be answered, and the handler must run exactly
/// once for it.
///
/// Catches backends that send a request again although it arrived.
pub async fn each_request_runs_once(context: &TestContext) -> Verdict {
    let log = Arc::new(OperationLog::new());
    let runs = log.clone();
    let _server = context
        .serve(Router::new(MessagePack).method("run", move |id: u64| {
            runs.effect(id);
            async { Ok(()) }
        }))
        .await?;
    let client = context.client().await?;
    let calls = (0..1_000).map(|_| async {
        let id = log.attempt();
        log.finish(id, OperationOutcome::of(&client.call::<()>("run", &id).await));
    });
    join_all(calls).await;
    let summary = log.summary();
    ensure!(summary.acknowledged == summary.attempted, "not every call was answered: {summary}");
    ensure!(
        summary.lost + summary.duplicated + summary.unexpected == 0,
        "not every request ran once: {summary}"
    );
    Ok(())
}

/// A method whose name has dots is found.
///
/// Catches backends that use the name of the method as a routing key, and cut it at its dots.
pub async fn nested_methods_are_found(context: &TestContext) -> Verdict {
    let inner =
        Router::new(MessagePack).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) });
    let _server = context.serve(Router::new(MessagePack).nest("math.simple", inner)).await?;
    let sum: i64 = context
        .client()
        .await?
        .call("math.simple.add", &(2, 3))
        .await
        .or_fail("the call is answered")?;
    ensure!(sum == 5, "2 + 3 gave {sum}");
    Ok(())
}

/// A call in flight is a handle that can be awaited later.
///
/// The calls are awaited in another order than they were started in.
///
/// Both handlers end only after the first call was sent.
///
/// Catches replies that are delivered to the call that waits first.
pub async fn calls_in_flight_can_be_awaited_later(context: &TestContext) -> Verdict {
    let gate = Arc::new(Semaphore::new(0));
    let _server = context.serve(gated(&gate)).await?;
    let client = context.client().await?;
    let mut first = client.request("wait").start::<u32>(&1).or_fail("the first call starts")?;
    let second = client.request("wait").start::<u32>(&2).or_fail("the second call starts")?;
    in_time(async {
        first.sent().await;
        Ok(())
    })
    .await?;
    ensure!(!first.is_finished(), "the call finished before its handler did");
    gate.add_permits(2);
    let (second, first) =
        (second.await.or_fail("the second call")?, first.await.or_fail("the first call")?);
    ensure!((first, second) == (1, 2), "the handles gave {first} and {second}");
    Ok(())
}

/// A request that is sent after the server was bound is served, even if serving starts later.
///
/// The request waits for the server, not the other way around: binding returns when the service is
/// reachable.
///
/// Catches responders that declare their queue only when they are polled, or that drop what arrives
/// before.
pub async fn requests_sent_after_bind_are_served(context: &TestContext) -> Verdict {
    let transport = context.serving().await?;
    let server = in_time(Server::bind(&transport, SERVICE)).await?;
    let client = context.client().await?;
    let mut early = client.request("wait").start::<u32>(&7).or_fail("the call starts")?;
    in_time(async {
        early.sent().await;
        Ok(())
    })
    .await?;
    let _serving = RunningServer::start(transport, server, gated(&Arc::new(Semaphore::new(1))));
    let reply = early.await.or_fail("the early call is answered")?;
    ensure!(reply == 7, "the early call got {reply}");
    Ok(())
}

/// A call to a service without a server fails as unroutable and unsent.
///
/// The error is [`ErrorKind::Unroutable`], and counts as [unsent](polywire_core::Error::is_unsent),
/// so that a retry is safe. A call to another service still succeeds.
///
/// Catches backends whose broker confirms and discards a message without a queue, unless it is
/// mandatory.
pub async fn unknown_service_is_unroutable(context: &TestContext) -> Verdict {
    let _server = context.serve(gated(&Arc::new(Semaphore::new(9)))).await?;
    let transport = context.calling().await?;
    let client =
        in_time(Client::connect(&transport, "missing", MessagePack).timeout(PATIENCE)).await?;
    let outcome = client.call::<u32>("wait", &1).await;
    let Err(CallError::Failed(error)) = outcome else {
        return Err(Failure::new(format!("a call without a server ended with {outcome:?}")));
    };
    ensure!(error.kind() == ErrorKind::Unroutable, "a call without a server failed as {error:?}");
    ensure!(
        error.is_unsent(),
        "no server can have run the call, yet it does not count as unsent: {error:?}"
    );
    let reply: u32 =
        context.client().await?.call("wait", &1).await.or_fail("a call to a server is answered")?;
    ensure!(reply == 1, "a call to a server got {reply}");
    Ok(())
}

/// A client of any service reaches each by its name.
///
/// Three processes serve a service each, and one client calls them in turn, twice. A service
/// without a server is unroutable, and the others answer after that.
///
/// Catches backends whose process has room for one requester.
pub async fn client_of_any_service_reaches_each(context: &TestContext) -> Verdict {
    const SERVICES: [&str; 3] = ["any.one", "any.two", "any.three"];
    let mut servers = Vec::new();
    for name in SERVICES {
        let serving = context.serving().await?;
        let server = in_time(Server::bind(&serving, name)).await?;
        let router = Router::new(MessagePack).method("name", move |(): ()| async move { Ok(name) });
        servers.push(RunningServer::start(serving, server, router));
    }
    let any = Client::any(&context.calling().await?, MessagePack).with_timeout(PATIENCE);
    for _ in 0..2 {
        for name in SERVICES {
            let reply = any.call::<String>(name, "name", &()).await;
            let reply = reply.or_fail(&format!("the service {name} answers"))?;
            ensure!(reply == name, "the service {reply} answered in place of {name}");
        }
        let outcome = any.call::<String>("any.missing", "name", &()).await;
        let is_unroutable = matches!(&outcome, Err(CallError::Failed(error)) if error.kind() == ErrorKind::Unroutable);
        ensure!(is_unroutable, "a call without a server ended with {outcome:?}");
    }
    Ok(())
}

/// A call that is asked to waits for the first server of its service, until its deadline.
///
/// An awaited call and a one-way call wait, and both run once the server is bound. Meanwhile a
/// plain call fails as unroutable, and a call that waits for too long as its deadline passes. Where
/// a client does not learn at once that a service is unknown, a second awaited call stands for the
/// one-way call.
///
/// The call that waits for too long has a timeout of 300 ms.
///
/// Catches backends that remember a service as unroutable.
pub async fn call_waits_for_the_first_server(context: &TestContext) -> Verdict {
    const LATE: &str = "late";
    let server = context.serve(gated(&Arc::new(Semaphore::new(9)))).await?;
    let transport = context.calling().await?;
    let client = in_time(Client::connect(&transport, LATE, MessagePack).timeout(PATIENCE)).await?;
    let at_once = transport.capabilities().unroutable_at_once;
    let runs = Arc::new(AtomicUsize::new(0));
    let waiting = client.request("wait").wait_for_service().start::<u32>(&7);
    let waiting = waiting.or_fail("a call starts")?;
    let patient = client.clone();
    let noted = async move {
        match at_once {
            true => patient.request("note").wait_for_service().send(&()).await,
            false => patient.request("note").wait_for_service().call(&()).await,
        }
    };
    let noted = tokio::spawn(noted);
    let brief = client.request("wait").wait_for_service().timeout(Duration::from_millis(300));
    let outcome = brief.call::<u32>(&1).await;
    let is_late = matches!(outcome, Err(CallError::DeadlineExceeded(_)));
    ensure!(is_late, "a call that waited for too long ended with {outcome:?}");
    let outcome = client.call::<u32>("wait", &1).await;
    let is_unroutable =
        matches!(&outcome, Err(CallError::Failed(error)) if error.kind() == ErrorKind::Unroutable);
    ensure!(is_unroutable, "a plain call without a server ended with {outcome:?}");
    ensure!(!waiting.is_finished() && !noted.is_finished(), "a call that waits has ended");
    let serving = server.transport.clone();
    let late = in_time(Server::bind(&serving, LATE)).await?;
    let notes = runs.clone();
    let router = gated(&Arc::new(Semaphore::new(9))).method("note", move |(): ()| {
        notes.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }
    });
    let _late = RunningServer::start(serving, late, router);
    let reply = waiting.await.or_fail("the call that waits is answered")?;
    ensure!(reply == 7, "the call that waits got {reply}");
    let sent = noted.await.or_fail("the sender does not panic")?;
    sent.or_fail("the one-way call that waits is sent")?;
    eventually("the one-way call that waits runs", || runs.load(Ordering::SeqCst) == 1).await
}

/// A call that is dropped leaves nothing behind; its late reply is dropped and counted, if there is
/// one.
///
/// The next call must get its own reply, and not the late one. Where the backend cancels the
/// handler, no late reply exists.
///
/// Catches ids, or slots for replies, that are reused while a late reply is in transit.
pub async fn abandoned_call_leaves_nothing_behind(context: &TestContext) -> Verdict {
    let gate = Arc::new(Semaphore::new(0));
    let server = context.serve(gated(&gate)).await?;
    let client = context.client().await?;
    let abandoned = client.request("wait").start::<u32>(&1).or_fail("the call starts")?;
    eventually("the request arrives", || server.handle.stats().running == 1).await?;
    ensure!(
        client.stats().in_flight == 1,
        "{} calls are in flight, not one",
        client.stats().in_flight
    );
    drop(abandoned);
    eventually("the abandoned call is removed", || client.stats().in_flight == 0).await?;
    gate.add_permits(2);
    let reply: u32 = client.call("wait", &2).await.or_fail("the next call is answered")?;
    ensure!(reply == 2, "the next call got the reply {reply}: that of the abandoned one");
    // A server that has stopped the handler sends no reply.
    let is_counted = || client.stats().late_replies + server.handle.stats().cancelled == 1;
    eventually("the late reply is counted", is_counted).await?;
    ensure!(
        client.stats().in_flight == 0,
        "{} calls are in flight in the end",
        client.stats().in_flight
    );
    Ok(())
}

/// Shuffles numbers by Knuth's multiplicative hash.
///
/// The low four bits of the result decide on the number of yields.
fn shuffled(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40
}
