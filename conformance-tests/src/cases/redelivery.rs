//! Redelivery: requests and one-way calls of servers that die.
//!
//! A server dies by the end of its task, or of its connections. A responder that runs nothing holds
//! the requests that a server has not begun. The cases of calls that run at most once and have
//! begun are those of [`at_most_once`](super::at_most_once).

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::transport::{Delivery, Receiver, Sender};
use polywire_core::{AnyTransport, Context, Router, Transport, Window, at_most_once};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::at_most_once::{Begun, die};
use super::disturbed::is_cut_off;
use super::receive::next_request;
use super::services::gated_with_name;
use crate::context::TestContext;
use crate::context::running_server::RunningServer;
use crate::names::SERVICE;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, in_time, within};

/// A server that holds requests and begins none. Dropping it ends the server, and the requests are
/// redelivered.
struct HoldingServer {
    // In the order of dropping: what is held goes first.
    held: Vec<Delivery>,
    replies: Sender,
    requests: Receiver,
    transport: AnyTransport,
}

impl HoldingServer {
    /// Opens a server with a window of 4.
    async fn open(context: &TestContext) -> Verdict<Self> {
        let transport = context.serving().await?;
        let service = SERVICE.try_into().or_fail("the service has a name")?;
        let (replies, requests) = in_time(transport.responder(&service, Window::new(4))).await?;
        Ok(Self { held: Vec::new(), replies, requests, transport })
    }

    /// Takes this many requests, which were sent before.
    async fn take(&mut self, requests: usize) -> Verdict {
        while self.held.len() < requests {
            self.held.push(next_request(&mut self.requests).await?);
        }
        Ok(())
    }

    /// Ends the server.
    fn die(self) {
        let Self { held, replies, requests, transport } = self;
        drop((held, replies, requests, transport));
    }
}

/// The calls that a dying server held and had not begun run on another server, marked as
/// redelivered.
///
/// Two of four calls are idempotent. None is marked to run at most once.
///
/// Catches backends that settle a request when they deliver it.
///
/// Needs the capability `settlement`.
pub async fn calls_that_were_not_begun_go_on(context: &TestContext) -> Verdict {
    context.require("settlement", |can| can.settlement).await?;
    let mut dying = HoldingServer::open(context).await?;
    let client = context.client().await?;
    let start = |n: u64| {
        let request = client.request("wait");
        let request = if n.is_multiple_of(2) { request } else { request.idempotent() };
        request.start::<bool>(&n)
    };
    let calls: Vec<_> = (0..4).map(start).collect::<Result<_, _>>().or_fail("calls start")?;
    dying.take(4).await?;
    let begun = Begun::default();
    let note = begun.clone();
    let router = Router::new(MessagePack).method("wait", move |context: Context, n: u64| {
        note.note(n);
        async move { Ok(context.is_redelivered()) }
    });
    let _other = context.serve(router).await?;
    dying.die();
    for call in calls {
        let again = call.await.or_fail("a call that had not begun is answered")?;
        ensure!(again, "a request that a dead server had held is marked as redelivered");
    }
    ensure!(begun.sorted() == [0, 1, 2, 3], "the calls {:?} began", begun.sorted());
    Ok(())
}

/// The one-way calls that a dying server held and had not begun run on another server, except those
/// that run at most once: they have no caller that could be asked.
///
/// The first call has no mark, the second is idempotent, and the third runs at most once.
///
/// Catches backends that do not mark a redelivery.
///
/// Needs the capability `settlement`.
pub async fn one_way_calls_that_were_not_begun_go_on(context: &TestContext) -> Verdict {
    context.require("settlement", |can| can.settlement).await?;
    let mut dying = HoldingServer::open(context).await?;
    let client = context.client().await?;
    let sent = [
        client.request("note").send(&0_u64).await,
        client.request("note").idempotent().send(&1_u64).await,
        client.request("once").send(&2_u64).await,
    ];
    sent.into_iter().collect::<Result<(), _>>().or_fail("one-way calls are sent")?;
    dying.take(3).await?;
    let begun = Begun::default();
    let note = || {
        let begun = begun.clone();
        move |n: u64| {
            begun.note(n);
            async { Ok(()) }
        }
    };
    let router = Router::new(MessagePack).method("note", note());
    let other = context.serve(router.method("once", at_most_once(note()))).await?;
    dying.die();
    eventually("each one-way call is run or refused", || {
        begun.sorted().len() as u64 + other.handle.stats().refused >= 3
    })
    .await?;
    let ran = begun.sorted();
    ensure!(
        ran == [0, 1],
        "of the one-way calls 0 and 1, which go on, and 2, which runs at most once, the other \
         server ran {ran:?}"
    );
    Ok(())
}

/// A redelivered request whose caller is gone runs until its deadline, and does not begin if it
/// runs at most once.
///
/// The caller closes its transport while a server holds its request. Then that server dies. A
/// request without a mark, an idempotent one and one that runs at most once follow each other, with
/// a deadline of 5 s each. The last one is refused before its deadline.
///
/// Catches backends that redeliver a request without its deadline.
///
/// Needs the capability `settlement`.
pub async fn request_of_a_caller_that_is_gone_ends_by_its_deadline(
    context: &TestContext,
) -> Verdict {
    const TIMEOUT: Duration = Duration::from_secs(5);
    context.require("settlement", |can| can.settlement).await?;
    let hang = |begun: &Begun| {
        let begun = begun.clone();
        move |n: u64| {
            begun.note(n);
            async { Ok(pending::<u32>().await) }
        }
    };
    for (n, method) in [(0_u64, "hang"), (1, "hang"), (2, "once")] {
        let mut dying = HoldingServer::open(context).await?;
        let calling = context.calling().await?;
        let client = context.client_on(&calling).await?;
        let request = client.request(method).timeout(TIMEOUT);
        let request = if n == 1 { request.idempotent() } else { request };
        let call = request.start::<u32>(&n).or_fail("a call starts")?;
        dying.take(1).await?;
        in_time(calling.close()).await?;
        drop(call);
        let begun = Begun::default();
        let router = Router::new(MessagePack).method("hang", hang(&begun));
        let other = context.serve(router.method("once", at_most_once(hang(&begun)))).await?;
        dying.die();
        eventually("the request of a caller that is gone ends", || {
            let stats = other.handle.stats();
            stats.expired + stats.refused >= 1
        })
        .await?;
        let stats = other.handle.stats();
        let ended = (stats.expired, stats.refused);
        let (due, runs) = if method == "once" { ((0, 1), vec![]) } else { ((1, 0), vec![n]) };
        ensure!(ended == due, "of request {n}, {} expired and {} was refused", ended.0, ended.1);
        ensure!(begun.sorted() == runs, "of request {n}, the runs {:?} began", begun.sorted());
        die(other).await?;
    }
    Ok(())
}

/// The calls of a server that dies are answered by another server, or fail as disconnected, well
/// before their deadline.
///
/// Two calls have begun on the server that dies. Calls of both servers have a deadline of 30 s, and
/// must end within 15 s. Every second call is idempotent.
///
/// Catches backends whose callers wait for their deadline.
pub async fn calls_of_a_dead_server_end_soon(context: &TestContext) -> Verdict {
    const CALLS_MAX: u64 = 64;
    let (never, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let dying = context.serve_within(Window::new(4), gated_with_name(&never, "dying")).await?;
    let other = context.serve_within(Window::new(4), gated_with_name(&gate, "other")).await?;
    let client = context.client().await?;
    let running = |server: &RunningServer| server.handle.stats().running;
    let mut calls = Vec::new();
    while running(&dying) < 2 {
        let n = calls.len() as u64;
        ensure!(n < CALLS_MAX, "of {n} calls, the first server began {}", running(&dying));
        let request = client.request("wait");
        let request = if n.is_multiple_of(2) { request } else { request.idempotent() };
        calls.push(request.start::<String>(&n).or_fail("a call starts")?);
        let all_running = || running(&dying) + running(&other) > n;
        eventually("the call begins", all_running).await?;
    }
    let (handle, transport) = (dying.handle.clone(), dying.transport.clone());
    drop(dying);
    eventually("the handlers of the dead server end", || handle.stats().running == 0).await?;
    in_time(transport.close()).await?;
    let died = Instant::now();
    gate.add_permits(Semaphore::MAX_PERMITS);
    for call in calls {
        let what = "a call of a dead server ends well before its deadline";
        let outcome = within(PATIENCE / 2, what, call).await?;
        ensure!(
            is_cut_off(&outcome) || outcome.as_ref().is_ok_and(|name| name == "other"),
            "a call of a dead server ended with {outcome:?}"
        );
    }
    context.note(format!("ended after {:.1?}", died.elapsed()));
    Ok(())
}
