//! Calls that are never begun twice.
//!
//! A server dies while it holds requests. What has begun ends for its caller with a fault of its
//! own code, soon; what has not begun runs elsewhere.

mod client_is_gone;

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::transport::{Answer, Question};
use polywire_core::{CallError, Code, Context, Fault, Router, Transport, Window, at_most_once};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::receive::next_request;
use super::services::use_permit;
use crate::context::TestContext;
use crate::context::running_server::RunningServer;
use crate::names::SERVICE;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, in_time, within};

pub use self::client_is_gone::call_whose_client_is_gone_does_not_begin;

/// The time within which a caller learns of the death of its server.
const LEARNED_MAX: Duration = Duration::from_secs(2);

/// The most calls that a case makes until one server has two of them.
const CALLS_MAX: u64 = 64;

/// The numbers of the calls that began, in their order. Clones share the log.
#[derive(Clone, Default)]
pub(super) struct Begun(Arc<Mutex<Vec<u64>>>);

impl Begun {
    /// Adds a call that begins.
    pub(super) fn note(&self, call: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// Returns the calls that have begun, in the order of their numbers. A call that began twice is
    /// there twice.
    pub(super) fn sorted(&self) -> Vec<u64> {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        begun.sort_unstable();
        begun
    }
}

/// A service whose method `wait` runs at most once: it begins, and then waits for a permit.
///
/// The reply says if the request was redelivered. A handler without a permit never ends.
fn once(begun: &Begun, gate: &Arc<Semaphore>) -> Router<MessagePack> {
    let (begun, gate) = (begun.clone(), gate.clone());
    let wait = move |context: Context, n: u64| {
        begun.note(n);
        let gate = gate.clone();
        async move {
            use_permit(&gate).await;
            Ok(context.is_redelivered())
        }
    };
    Router::new(MessagePack).method("wait", at_most_once(wait))
}

/// Ends the process of a server: its handlers and its connections.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if the transport does not close within 30 s.
pub(super) async fn die(server: RunningServer) -> Verdict {
    let transport = server.transport.clone();
    drop(server);
    in_time(transport.close()).await
}

/// The outcome of a call that must be interrupted, and the time since `died`.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if the call ended with anything but
/// [`Code::Interrupted`], or later than [`LEARNED_MAX`].
fn interrupted(outcome: &Result<bool, CallError>, died: Instant) -> Verdict<Duration> {
    let learned_after = died.elapsed();
    let code = outcome.as_ref().err().and_then(CallError::fault).map(|fault| fault.code);
    ensure!(
        code == Some(Code::Interrupted),
        "a call whose server died after it had begun ended with {outcome:?}"
    );
    ensure!(
        learned_after <= LEARNED_MAX,
        "a caller learned {learned_after:.1?} after its server died"
    );
    Ok(learned_after)
}

/// A call that has begun is begun by no other server when its server dies, and its caller learns of
/// that within two seconds.
///
/// Calls have begun on two servers. The calls of the one that dies are interrupted, and those of
/// the other one are answered. The other one may get the requests again, and must not run them.
///
/// Catches redelivered requests that run again, and callers that wait for their deadline.
///
/// Needs the capability `interruption`.
pub async fn begun_call_is_interrupted_and_not_run_again(context: &TestContext) -> Verdict {
    context.require("interruption", |can| can.interruption).await?;
    let (begun, begun_elsewhere) = (Begun::default(), Begun::default());
    let (never, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let dying = context.serve_within(Window::new(4), once(&begun, &never)).await?;
    let other = context.serve_within(Window::new(4), once(&begun_elsewhere, &gate)).await?;
    let client = context.client().await?;
    let mut calls = Vec::new();
    while begun.sorted().len() < 2 {
        let n = calls.len() as u64;
        ensure!(n < CALLS_MAX, "of {n} calls, the first server began {:?}", begun.sorted());
        let call = client.request("wait").at_most_once().start::<bool>(&n);
        calls.push(call.or_fail("a call starts")?);
        let all_begun = || begun.sorted().len() + begun_elsewhere.sorted().len() == calls.len();
        eventually("the call begins", all_begun).await?;
    }
    let (lost, kept) = (begun.sorted(), begun_elsewhere.sorted());
    die(dying).await?;
    let died = Instant::now();
    gate.add_permits(Semaphore::MAX_PERMITS);
    let mut longest = Duration::ZERO;
    for (n, call) in (0..).zip(calls) {
        let outcome = call.await;
        if lost.contains(&n) {
            longest = longest.max(interrupted(&outcome, died)?);
        } else {
            outcome.or_fail("a call of the other server is answered")?;
        }
    }
    in_time(other.transport.close()).await?;
    let ran = begun_elsewhere.sorted();
    ensure!(ran == kept, "the other server had begun {kept:?}, and in the end {ran:?}");
    context.note(format!("learned after {longest:.1?} at most"));
    Ok(())
}

/// The caller of a call that has begun learns within two seconds that its server has died, even if
/// there is no other server.
///
/// Catches backends that learn of a death only by the redelivery of the request.
///
/// Needs the capability `interruption`.
pub async fn begun_call_is_interrupted_without_another_server(context: &TestContext) -> Verdict {
    context.require("interruption", |can| can.interruption).await?;
    let (begun, never) = (Begun::default(), Arc::new(Semaphore::new(0)));
    let dying = context.serve(once(&begun, &never)).await?;
    let client = context.client().await?;
    let call = client.request("wait").at_most_once().start::<bool>(&0).or_fail("a call starts")?;
    eventually("the call begins", || begun.sorted() == [0]).await?;
    die(dying).await?;
    let died = Instant::now();
    let learned_after = interrupted(&call.await, died)?;
    context.note(format!("learned after {learned_after:.1?}"));
    Ok(())
}

/// The requests that a dying server held and had not begun run on another server.
///
/// The dying server holds four requests, as a server does whose handlers have not begun yet.
///
/// Catches servers that settle a request before it begins, or when it is delivered.
///
/// Needs the capabilities `interruption` and `settlement`.
pub async fn request_that_was_not_begun_runs_elsewhere(context: &TestContext) -> Verdict {
    context.require("interruption", |can| can.interruption).await?;
    context.require("settlement", |can| can.settlement).await?;
    let transport = context.serving().await?;
    let service = SERVICE.try_into().or_fail("the service has a name")?;
    let (replies, mut requests) = in_time(transport.responder(&service, Window::new(4))).await?;
    let client = context.client().await?;
    let start = |n: u64| client.request("wait").at_most_once().start::<bool>(&n);
    let calls: Vec<_> = (0..4).map(start).collect::<Result<_, _>>().or_fail("calls start")?;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(next_request(&mut requests).await?);
    }
    let (begun, open) = (Begun::default(), Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)));
    let _other = context.serve(once(&begun, &open)).await?;
    drop((held, replies, requests, transport));
    for call in calls {
        let again = call.await.or_fail("a call that had not begun is answered")?;
        ensure!(again, "a request that a dead server had held is marked as redelivered");
    }
    ensure!(begun.sorted() == [0, 1, 2, 3], "the calls {:?} began", begun.sorted());
    Ok(())
}

/// A call that a server had begun is interrupted if the broker redelivers its request, and is not
/// begun again.
///
/// The first server has the permission to begin, and dies before it settles, as a server does whose
/// acknowledgement is lost.
///
/// Catches callers that permit each server that asks.
///
/// Needs the capabilities `interruption` and `settlement`.
pub async fn redelivered_call_that_had_begun_is_interrupted(context: &TestContext) -> Verdict {
    context.require("interruption", |can| can.interruption).await?;
    context.require("settlement", |can| can.settlement).await?;
    let transport = context.serving().await?;
    let service = SERVICE.try_into().or_fail("the service has a name")?;
    let (replies, mut requests) = in_time(transport.responder(&service, Window::new(4))).await?;
    let client = context.client().await?;
    let call = client.request("wait").start::<bool>(&0).or_fail("a call starts")?;
    let held = next_request(&mut requests).await?;
    let caller = held.message.reply_to.clone().zip(held.message.id);
    let (reply_to, id) = caller.or_fail("the request has a caller")?;
    let question = Question::new(reply_to, id, 1);
    ensure!(replies.ask(&question), "the caller cannot be asked");
    let answered = poll_fn(|cx| requests.poll_answer(cx));
    let answer = within(PATIENCE, "the caller answers", answered).await?;
    ensure!(answer == Answer::new(question, true), "the caller answered {answer:?}");
    let begun = Begun::default();
    let other = context.serve(once(&begun, &Arc::new(Semaphore::new(9)))).await?;
    let died = Instant::now();
    drop((held, replies, requests, transport));
    interrupted(&call.await, died)?;
    client.call::<bool>("wait", &1).await.or_fail("the other server answers")?;
    in_time(other.transport.close()).await?;
    ensure!(begun.sorted() == [1], "the calls {:?} began again", begun.sorted());
    Ok(())
}

/// A method that runs at most once does so for callers that did not mark their calls.
///
/// Catches backends whose servers cannot ask the caller before they begin.
///
/// Needs the capabilities `interruption` and `settlement`.
pub async fn unmarked_call_is_interrupted_too(context: &TestContext) -> Verdict {
    context.require("interruption", |can| can.interruption).await?;
    context.require("settlement", |can| can.settlement).await?;
    let (begun, never) = (Begun::default(), Arc::new(Semaphore::new(0)));
    let dying = context.serve(once(&begun, &never)).await?;
    let client = context.client().await?;
    let call = client.request("wait").start::<bool>(&0).or_fail("a call starts")?;
    eventually("the call begins", || begun.sorted() == [0]).await?;
    let other = context.serve(once(&begun, &Arc::new(Semaphore::new(9)))).await?;
    let died = Instant::now();
    drop(dying);
    interrupted(&call.await, died)?;
    client.call::<bool>("wait", &1).await.or_fail("the other server answers")?;
    in_time(other.transport.close()).await?;
    ensure!(begun.sorted() == [0, 1], "the calls {:?} began", begun.sorted());
    Ok(())
}

/// A one-way call that has begun is run by no other server when its server dies.
///
/// All calls are marked by the method. The marks of their callers take turns: none, at most once,
/// idempotent.
///
/// Catches one-way calls that stay unsettled while they run.
pub async fn one_way_call_is_begun_once(context: &TestContext) -> Verdict {
    let (begun, begun_elsewhere) = (Begun::default(), Begun::default());
    let (never, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let dying = context.serve_within(Window::new(4), once(&begun, &never)).await?;
    let other = context.serve_within(Window::new(4), once(&begun_elsewhere, &gate)).await?;
    let client = context.client().await?;
    let mut sent = 0;
    while begun.sorted().len() < 2 {
        ensure!(sent < CALLS_MAX, "of {sent} calls, the first server began {:?}", begun.sorted());
        let call = client.request("wait");
        let call = match sent % 3 {
            0 => call,
            1 => call.at_most_once(),
            _ => call.idempotent(),
        };
        call.send(&sent).await.or_fail("a one-way call is sent")?;
        sent += 1;
        let all_begun = || (begun.sorted().len() + begun_elsewhere.sorted().len()) as u64 == sent;
        eventually("the call begins", all_begun).await?;
    }
    let kept = begun_elsewhere.sorted();
    die(dying).await?;
    gate.add_permits(Semaphore::MAX_PERMITS);
    // The client may choose the server that has died, until it notices.
    let answered = async { while client.call::<bool>("wait", &CALLS_MAX).await.is_err() {} };
    within(PATIENCE, "the other server answers", answered).await?;
    in_time(other.transport.close()).await?;
    let mut ran = begun_elsewhere.sorted();
    ran.retain(|n| *n != CALLS_MAX);
    ensure!(ran == kept, "the other server had begun {kept:?}, and in the end {ran:?}");
    Ok(())
}

/// A request to a server that runs each at most once goes to no other server if that server dies,
/// not even to one that runs requests at least once.
///
/// The other server gets the four requests that follow, and no others.
///
/// Catches acknowledgements that wait in a buffer until the server ends.
///
/// Needs the capability `settlement`.
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method has one lifetime, and not any"
)]
pub async fn begun_call_is_not_run_by_servers_without_the_mark(context: &TestContext) -> Verdict {
    context.require("settlement", |can| can.settlement).await?;
    // A request counts as running before it is settled, and its handler begins after that.
    let log = Begun::default();
    let note = log.clone();
    let hanging = Router::new(MessagePack).method("wait", move |n: u64| {
        note.note(n);
        std::future::pending::<Result<String, Fault>>()
    });
    let dying = context.serve_as(hanging, |server| server.at_most_once()).await?;
    let client = context.client().await?;
    let start = |n: u64| client.request("wait").start::<String>(&n);
    let begun: Vec<_> = (0..4).map(start).collect::<Result<_, _>>().or_fail("calls start")?;
    eventually("the requests begin", || log.sorted().len() == 4).await?;
    let ran = Arc::new(Mutex::new(Vec::new()));
    let record = ran.clone();
    let router = Router::new(MessagePack).method("wait", move |n: u64| {
        record.lock().unwrap_or_else(PoisonError::into_inner).push(n);
        async { Ok("other") }
    });
    let other = context.serve(router).await?;
    drop(dying);
    for n in 4..8 {
        // The dying server may still take a call, settle it, and end before the handler begins.
        let call = || client.request("wait").timeout(LEARNED_MAX).call::<String>(&n);
        let answered = async { while call().await.is_err() {} };
        within(PATIENCE, "the other server answers", answered).await?;
    }
    drop(begun);
    in_time(other.transport.close()).await?;
    let ran = ran.lock().unwrap_or_else(PoisonError::into_inner);
    ensure!(
        *ran == [4, 5, 6, 7],
        "of the requests 0 to 3, which had begun, and 4 to 7, the other server ran {ran:?}"
    );
    Ok(())
}
