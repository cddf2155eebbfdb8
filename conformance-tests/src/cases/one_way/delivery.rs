//! Delivery of one-way calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use polywire_codec::MessagePack;
use polywire_core::{
    CallError, Client, Code, Context, ErrorKind, Fault, Router, Transport, Window,
};
use tokio::sync::Semaphore;

use crate::cases::services::{echo, gated, use_permit};
use crate::context::TestContext;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, in_time, within};

/// The number of one-way calls of a case.
const CALLS: u32 = 300;
/// The one-way call whose handler panics.
const PANICKING: u32 = 100;

/// Each one-way call runs once, and nothing comes back, also if its handler fails.
///
/// Of 300 calls, one half fails and one call panics. Further calls name a method that does not
/// exist, or have arguments of another type. The server lives, and the client gets the reply to its
/// awaited call alone.
///
/// The server drains before the runs are counted, so that a second run of a call would be seen.
///
/// Catches backends that run a call twice, lose one, or send a reply to it.
pub async fn each_runs_once_and_answers_nothing(context: &TestContext) -> Verdict {
    let ran: Arc<Mutex<Vec<u32>>> = Arc::default();
    let runs = ran.clone();
    let count = move || runs.lock().map_or(0, |runs| runs.len());
    let router = echo().method("note", {
        let ran = ran.clone();
        move |n: u32| {
            ran.lock().map(|mut ran| ran.push(n)).unwrap_or_default();
            async move {
                if n == PANICKING {
                    // Unwinds as a panic does, but prints no backtrace into the report.
                    std::panic::resume_unwind(Box::new("a panic on purpose"));
                }
                match n % 2 {
                    0 => Ok(n),
                    _ => Err(Fault::new(Code::Application, "no note is wanted")),
                }
            }
        }
    });
    let server = context.serve(router).await?;
    let client = context.client().await?;
    for n in 0..CALLS {
        client.request("note").send(&n).await.or_fail("a one-way call is sent")?;
    }
    client.request("missing").send(&1).await.or_fail("a call of no method is sent")?;
    client.request("note").send("no number").await.or_fail("a call with bad arguments is sent")?;
    eventually("every one-way call runs", || count() >= CALLS as usize).await?;
    let reply: u32 = client.call("echo", &7).await.or_fail("an awaited call is answered")?;
    ensure!(reply == 7, "the awaited call got {reply}");
    in_time(async {
        server.handle.drain().await;
        Ok(())
    })
    .await?;
    let mut ran = ran.lock().map(|ran| ran.clone()).unwrap_or_default();
    ran.sort_unstable();
    let total = ran.len();
    ran.dedup();
    ensure!(total == ran.len(), "{} one-way calls ran {total} times", ran.len());
    ensure!(ran.len() == CALLS as usize, "of {CALLS} one-way calls, {} ran", ran.len());
    let stats = client.stats();
    let replies = stats.late_replies + stats.bad_replies;
    ensure!(replies == 0, "{replies} replies came to one-way calls");
    ensure!(stats.in_flight == 0, "{} one-way calls are still in flight", stats.in_flight);
    Ok(())
}

/// The sender of a one-way call does not wait for its handler.
///
/// The call is sent while its handler waits for a permit, and the handler ends after that.
///
/// The send must end within 10 s.
///
/// Catches backends that report a one-way call as sent when it is settled.
pub async fn sender_does_not_wait_for_the_handler(context: &TestContext) -> Verdict {
    let gate = Arc::new(Semaphore::new(0));
    let ended = Arc::new(AtomicU64::new(0));
    let (handler_gate, ends) = (gate.clone(), ended.clone());
    let router = Router::new(MessagePack).method("note", move |(): ()| {
        let (gate, ends) = (handler_gate.clone(), ends.clone());
        async move {
            use_permit(&gate).await;
            ends.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    });
    let server = context.serve(router).await?;
    let client = context.client().await?;
    let sending = client.request("note").send(&());
    let what = "a one-way call is sent before its handler ends";
    within(PATIENCE / 3, what, sending).await?.or_fail("a one-way call is sent")?;
    eventually("the handler begins", || server.handle.stats().running == 1).await?;
    ensure!(ended.load(Ordering::SeqCst) == 0, "the handler ended without a permit");
    gate.add_permits(1);
    eventually("the handler ends", || ended.load(Ordering::SeqCst) == 1).await
}

/// A one-way call to a service without a server fails as unroutable and unsent.
///
/// As [`unknown_service_is_unroutable`](crate::cases::calls::unknown_service_is_unroutable), which
/// awaits its reply. Where a client does not learn at once that a service is unknown, there is no
/// server at all: a server could not answer the sender.
///
/// Catches backends that ask a broker for the return of awaited calls only.
pub async fn one_for_an_unknown_service_is_unroutable(context: &TestContext) -> Verdict {
    let at_once = context.calling().await?.capabilities().unroutable_at_once;
    let _server = match at_once {
        true => Some(context.serve(echo()).await?),
        false => None,
    };
    let transport = context.calling().await?;
    let missing = Client::connect(&transport, "missing", MessagePack).timeout(PATIENCE);
    let outcome = in_time(missing).await?.request("wait").send(&1).await;
    let Err(CallError::Failed(error)) = outcome else {
        let text = format!("a one-way call without a server ended with {outcome:?}");
        return Err(Failure::new(text));
    };
    let (kind, is_unsent) = (error.kind(), error.is_unsent());
    ensure!(kind == ErrorKind::Unroutable, "a one-way call without a server failed as {error:?}");
    ensure!(is_unsent, "no server can have got the call, yet it does not count as unsent: {error}");
    Ok(())
}

/// The one-way calls that a dying server held run on another server, marked as redelivered.
///
/// The server dies with four handlers that never end. Every second call is idempotent.
///
/// Catches backends that settle a one-way call when they deliver it.
///
/// Needs the capability `settlement`.
pub async fn one_of_a_dead_server_goes_on(context: &TestContext) -> Verdict {
    context.require("settlement", |can| can.settlement).await?;
    let never = Arc::new(Semaphore::new(0));
    let dying = context.serve_within(Window::new(4), gated(&never)).await?;
    let client = context.client().await?;
    for n in 0..4_u32 {
        let call = client.request("wait");
        let call = if n % 2 == 0 { call } else { call.idempotent() };
        call.send(&n).await.or_fail("a one-way call is sent")?;
    }
    eventually("the one-way calls arrive", || dying.handle.stats().running == 4).await?;
    let runs: Arc<Mutex<Vec<(u32, bool)>>> = Arc::default();
    let noted = runs.clone();
    let router = Router::new(MessagePack).method("wait", move |context: Context, n: u32| {
        let again = context.is_redelivered();
        noted.lock().map(|mut runs| runs.push((n, again))).unwrap_or_default();
        async move { Ok(n) }
    });
    let _other = context.serve(router).await?;
    drop(dying);
    let count = || runs.lock().map_or(0, |runs| runs.len());
    eventually("the one-way calls of the dead server run", || count() == 4).await?;
    let mut runs = runs.lock().map(|runs| runs.clone()).unwrap_or_default();
    runs.sort_unstable();
    let expected: Vec<_> = (0..4).map(|n| (n, true)).collect();
    ensure!(runs == expected, "the other server ran {runs:?}, each with its mark of redelivery");
    Ok(())
}
