//! Handlers that answer in other ways than by ending with a result: that decline, or answer early.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use polywire_codec::MessagePack;
use polywire_core::{Fault, Replier, Router};
use tokio::sync::Semaphore;

use super::calls::eventually;
use crate::verdict::ensure;
use crate::{OrFail, Stage, Verdict};

/// A request that a server declines reaches another one, which takes it.
pub async fn declined_request_reaches_another_server(stage: &Stage) -> Verdict {
    // Without, the caller asks again, and nobody says that somebody else is asked then.
    stage.require("declining", |can| can.declining).await?;
    let asked = Asked::default();
    let servers =
        [stage.serve(choosy("first", &asked)).await?, stage.serve(choosy("second", &asked)).await?];
    let client = stage.client().await?;
    for name in ["first", "second", "second", "first"] {
        let taken_by: String =
            client.call("film", name).await.or_fail("a declined request is answered")?;
        ensure!(
            taken_by == name,
            "what only the {name} server takes was answered by the {taken_by} one"
        );
    }
    let declined: u64 = servers.iter().map(|server| server.handle.stats().declined).sum();
    stage.note(format_args!(
        "of 4 requests, each for one of two servers, {declined} were declined on the way"
    ));
    Ok(())
}

/// A request that every server declines ends with what one of them said, and is asked for no
/// longer.
pub async fn request_that_all_decline_is_declined(stage: &Stage) -> Verdict {
    let asked = Asked::default();
    let _servers =
        [stage.serve(choosy("first", &asked)).await?, stage.serve(choosy("second", &asked)).await?];
    let client = stage.client().await?;
    let outcome = client.call::<String>("film", "nobody").await;
    let Err(error) = outcome else {
        return Err(crate::Failure::new(format!("what all decline ended with {outcome:?}")));
    };
    ensure!(error.is_declined(), "what all decline ended with {error:?}");
    let because = error.fault().map_or("", |fault| &fault.message);
    ensure!(because.ends_with("has no lens"), "the reason came back as {because:?}");
    let before = asked.names().len();
    // Which server is asked first, and whether the other one is next, is the backend's affair.
    client.call::<String>("film", "anybody").await.or_fail("the next call is answered")?;
    stage.note(format_args!("two servers were asked {before} times for what neither takes"));
    Ok(())
}

/// Where the backend hands on what is declined, no server is asked twice, and none is left out.
pub async fn declined_request_goes_to_each_server_once(stage: &Stage) -> Verdict {
    stage.require("declining", |can| can.declining).await?;
    let asked = Asked::default();
    let mut servers = Vec::new();
    for name in ["first", "second", "third"] {
        servers.push(stage.serve(choosy(name, &asked)).await?);
    }
    let outcome = stage.client().await?.call::<String>("film", "nobody").await;
    let declined = outcome.as_ref().is_err_and(polywire_core::CallError::is_declined);
    ensure!(declined, "what all decline ended with {outcome:?}");
    let mut names = asked.names();
    names.sort_unstable();
    ensure!(names == ["first", "second", "third"], "the servers that were asked are {names:?}");
    Ok(())
}

/// A handler that answers early goes on working, and its caller gets that answer and no other.
pub async fn early_reply_does_not_end_the_handler(stage: &Stage) -> Verdict {
    let (gate, ended) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
    let (waits, ends) = (gate.clone(), ended.clone());
    let router =
        Router::new(MessagePack).method("order", move |replier: Replier<u64>, number: u64| {
            let (gate, ended) = (waits.clone(), ends.clone());
            async move {
                replier.reply(&number).await?;
                if let Ok(permit) = gate.acquire().await {
                    permit.forget();
                }
                ended.fetch_add(1, Ordering::Relaxed);
                Ok("its result")
            }
        });
    let server = stage.serve(router).await?;
    let client = stage.client().await?;
    for number in 1..=3_u64 {
        let reply: u64 = client.call("order", &number).await.or_fail("a call is answered early")?;
        ensure!(reply == number, "call {number} got the answer {reply}");
    }
    let running = server.handle.stats().running;
    ensure!(running == 3 && ended.load(Ordering::Relaxed) == 0, "{running} handlers of 3 go on");
    gate.add_permits(3);
    eventually("the handlers end", || ended.load(Ordering::Relaxed) == 3).await?;
    eventually("their ends are noted", || server.handle.stats().answered_early == 3).await?;
    // Whatever else would come for the client has come when the next reply is there.
    gate.add_permits(1);
    let reply: u64 = client.call("order", &4).await.or_fail("the next call is answered")?;
    ensure!(reply == 4, "the next call got the answer {reply}");
    let late = client.stats().late_replies;
    ensure!(late == 0, "{late} replies came for calls that were answered early");
    Ok(())
}

/// Which servers were asked, in their order.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<&'static str>>>);

impl Asked {
    fn names(&self) -> Vec<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, name: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(name);
    }
}

/// A service whose method `film` takes what is for the server of this name, or for anybody, and
/// declines the rest.
fn choosy(name: &'static str, asked: &Asked) -> Router<MessagePack> {
    let asked = asked.clone();
    Router::new(MessagePack).method("film", move |for_whom: String| {
        asked.note(name);
        async move {
            if for_whom == name || for_whom == "anybody" {
                Ok(name)
            } else {
                Err(Fault::declined(format!("the {name} server has no lens")))
            }
        }
    })
}
