//! Handlers that decline a request or answer it early.
//!
//! A declined request is not failed: another server may accept it. A backend with the capability
//! `declining` passes it on; otherwise the client retries. A handler that answers early keeps its
//! delivery until it ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use polywire_codec::MessagePack;
use polywire_core::{CallError, Fault, Replier, Router};
use tokio::sync::Semaphore;

use super::services::use_permit;
use crate::context::TestContext;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::eventually;

/// A request that a server declines reaches another server, which accepts it.
///
/// Two servers accept different requests. The backend may try either first.
///
/// Catches backends that discard a declined request, or requeue it to the same server without end.
///
/// Needs the capability `declining`.
pub async fn declined_request_reaches_another_server(context: &TestContext) -> Verdict {
    // Without the capability, the client retries, and may reach the same server again.
    context.require("declining", |can| can.declining).await?;
    let asked = AskedServers::default();
    let servers = [
        context.serve(choosy("first", &asked)).await?,
        context.serve(choosy("second", &asked)).await?,
    ];
    let client = context.client().await?;
    for name in ["first", "second", "second", "first"] {
        let taken_by: String =
            client.call("film", name).await.or_fail("a declined request is answered")?;
        ensure!(
            taken_by == name,
            "a request that only the {name} server accepts was answered by the {taken_by} one"
        );
    }
    let declined: u64 = servers.iter().map(|server| server.handle.stats().declined).sum();
    context.note(format_args!(
        "of 4 requests, each for one of two servers, {declined} were declined on the way"
    ));
    Ok(())
}

/// A request that every server declines ends with the fault of one of them, and is retried no
/// longer.
///
/// The message of the fault is the reason that a server gave. The next call is answered.
///
/// Catches backends that leave the caller without an answer once no server is left.
pub async fn request_that_all_decline_is_declined(context: &TestContext) -> Verdict {
    let asked = AskedServers::default();
    let _servers = [
        context.serve(choosy("first", &asked)).await?,
        context.serve(choosy("second", &asked)).await?,
    ];
    let client = context.client().await?;
    let outcome = client.call::<String>("film", "none").await;
    let Err(error) = outcome else {
        return Err(Failure::new(format!("a request that all decline ended with {outcome:?}")));
    };
    ensure!(error.is_declined(), "a request that all decline ended with {error:?}");
    let because = error.fault().map_or("", |fault| &fault.message);
    ensure!(because.ends_with("has no lens"), "the reason came back as {because:?}");
    let before = asked.names().len();
    // The order of servers, and the number of attempts, are up to the backend.
    client.call::<String>("film", "any").await.or_fail("the next call is answered")?;
    context
        .note(format_args!("two servers got a request that neither accepts {before} times in all"));
    Ok(())
}

/// A declined request goes to each server exactly once, where the backend passes it on.
///
/// Three servers decline the same request.
///
/// Catches backends that requeue a declined request without a record of the servers that had it.
///
/// Needs the capability `declining`.
pub async fn declined_request_goes_to_each_server_once(context: &TestContext) -> Verdict {
    context.require("declining", |can| can.declining).await?;
    let asked = AskedServers::default();
    let mut servers = Vec::new();
    for name in ["first", "second", "third"] {
        servers.push(context.serve(choosy(name, &asked)).await?);
    }
    let outcome = context.client().await?.call::<String>("film", "none").await;
    let declined = outcome.as_ref().is_err_and(CallError::is_declined);
    ensure!(declined, "a request that all decline ended with {outcome:?}");
    let mut names = asked.names();
    names.sort_unstable();
    ensure!(names == ["first", "second", "third"], "the request went to the servers {names:?}");
    Ok(())
}

/// A handler that answers early keeps running, and its caller gets that answer and no other.
///
/// Three handlers answer and keep running until they get a permit. No second reply arrives when
/// they end.
///
/// Catches backends that take the settlement of the delivery for a second reply.
pub async fn early_reply_does_not_end_the_handler(context: &TestContext) -> Verdict {
    let (gate, ended) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
    let (waits, ends) = (gate.clone(), ended.clone());
    let router =
        Router::new(MessagePack).method("order", move |replier: Replier<u64>, number: u64| {
            let (gate, ended) = (waits.clone(), ends.clone());
            async move {
                replier.reply(&number).await?;
                use_permit(&gate).await;
                ended.fetch_add(1, Ordering::Relaxed);
                Ok("its result")
            }
        });
    let server = context.serve(router).await?;
    let client = context.client().await?;
    for number in 1..=3_u64 {
        let reply: u64 = client.call("order", &number).await.or_fail("a call is answered early")?;
        ensure!(reply == number, "call {number} got the answer {reply}");
    }
    let running = server.handle.stats().running;
    ensure!(running == 3 && ended.load(Ordering::Relaxed) == 0, "{running} handlers of 3 go on");
    gate.add_permits(3);
    eventually("the handlers end", || ended.load(Ordering::Relaxed) == 3).await?;
    eventually("their ends are counted", || server.handle.stats().answered_early == 3).await?;
    // Any second reply for the client has arrived before the next reply does.
    gate.add_permits(1);
    let reply: u64 = client.call("order", &4).await.or_fail("the next call is answered")?;
    ensure!(reply == 4, "the next call got the answer {reply}");
    let late = client.stats().late_replies;
    ensure!(late == 0, "{late} late replies came for calls that were answered early");
    Ok(())
}

/// The servers that got a request, in their order.
///
/// Shared by all servers of a case, and filled before a server decides.
#[derive(Clone, Default)]
struct AskedServers(Arc<Mutex<Vec<&'static str>>>);

impl AskedServers {
    /// Returns the names so far.
    fn names(&self) -> Vec<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a server.
    fn add(&self, name: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(name);
    }
}

/// A service whose method `film` accepts a request that names this server or `any`, and
/// declines others.
///
/// The reply is the name of the server, and the reason of a refusal names the server.
fn choosy(name: &'static str, asked: &AskedServers) -> Router<MessagePack> {
    let asked = asked.clone();
    Router::new(MessagePack).method("film", move |addressee: String| {
        asked.add(name);
        async move {
            if addressee == name || addressee == "any" {
                Ok(name)
            } else {
                Err(Fault::declined(format!("the {name} server has no lens")))
            }
        }
    })
}
