//! Opening and closing.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::message::CallId;
use polywire_core::{CallError, Client, ErrorKind, Router, Server, Transport, Window};
use tokio::time::timeout;

use super::calls::eventually;
use super::faults::raw_request;
use crate::stage::{SERVICE, bound};
use crate::verdict::ensure;
use crate::{Failure, OrFail, Stage, Verdict};

/// "At once", on a machine that is busy with something else.
const PROMPT: Duration = Duration::from_secs(15);

/// Closing twice is closing once, and what is closed says so.
pub async fn close_twice_is_close_once(stage: &Stage) -> Verdict {
    let _server = stage.serve(echo()).await?;
    let transport = stage.calling().await?;
    let client = stage.client_on(&transport).await?;
    client.call::<u32>("echo", &1).await.or_fail("an open transport works")?;
    for time in ["first", "second"] {
        let closed = timeout(PROMPT, transport.close())
            .await
            .or_fail(&format!("the {time} close ends at once"))?;
        closed.or_fail(&format!("the {time} close succeeds"))?;
    }
    let outcome = timeout(PROMPT, client.call::<u32>("echo", &1))
        .await
        .or_fail("a call after closing ends")?;
    ensure!(
        kind_of(&outcome) == Some(ErrorKind::Closed),
        "a call after closing ended with {outcome:?}"
    );
    let Err(error) = bound_or_error(Client::connect(&transport, SERVICE, MessagePack)).await?
    else {
        return Err(Failure::new("a closed transport opened a client"));
    };
    ensure!(
        error.kind() == ErrorKind::Closed,
        "opening a client on a closed transport failed as {error:?}"
    );
    let Err(error) = bound_or_error(Server::bind(&transport, SERVICE)).await? else {
        return Err(Failure::new("a closed transport bound a server"));
    };
    ensure!(error.kind() == ErrorKind::Closed, "binding on a closed transport failed as {error:?}");
    Ok(())
}

/// Closing a transport ends its calls in flight at once.
pub async fn close_wakes_pending_calls(stage: &Stage) -> Verdict {
    let server = stage.serve(echo()).await?;
    let transport = stage.calling().await?;
    let client = stage.client_on(&transport).await?;
    let calls: Vec<_> = (0..3).map(|_| client.request("hang").start::<u32>(&())).collect();
    eventually("the requests arrive", || server.handle.stats().running == 3).await?;
    timeout(PROMPT, transport.close())
        .await
        .or_fail("closing ends at once")?
        .or_fail("closing succeeds")?;
    for call in calls {
        let outcome = timeout(PROMPT, call.or_fail("a call starts")?)
            .await
            .or_fail("a pending call ends at once")?;
        ensure!(
            kind_of(&outcome) == Some(ErrorKind::Closed),
            "a pending call ended with {outcome:?}"
        );
    }
    ensure!(
        client.stats().in_flight == 0,
        "{} calls are in flight after closing",
        client.stats().in_flight
    );
    Ok(())
}

/// Closing a transport ends its servers.
pub async fn close_ends_serving(stage: &Stage) -> Verdict {
    let transport = stage.serving().await?;
    let server = bound(Server::bind(&transport, SERVICE)).await?;
    let serving = tokio::spawn(server.serve(echo()));
    let client = stage.client().await?;
    client.call::<u32>("echo", &1).await.or_fail("an open transport works")?;
    timeout(PROMPT, transport.close())
        .await
        .or_fail("closing ends at once")?
        .or_fail("closing succeeds")?;
    timeout(PROMPT, serving).await.or_fail("serving ends at once")?.or_fail("serving ends well")?;
    Ok(())
}

/// What a serving end had not yielded when it was closed, it yields no more.
pub async fn nothing_arrives_after_close(stage: &Stage) -> Verdict {
    let service = SERVICE.try_into().or_fail("the service has a name")?;
    let transport = stage.serving().await?;
    let (_replies, mut requests_in) = bound(transport.responder(&service, Window::new(9))).await?;
    let (requests, _replies_in) = bound(stage.calling().await?.requester(&service)).await?;
    for n in 0..3 {
        let mut message = raw_request("any")?.message;
        message.id = Some(CallId(n));
        bound(requests.send(message)).await?;
    }
    let first = timeout(PROMPT, requests_in.next()).await.or_fail("a request arrives at once")?;
    first.or_fail("a request arrives")?.or_fail("a request can be read")?.receipt.ack();
    timeout(PROMPT, transport.close())
        .await
        .or_fail("closing ends at once")?
        .or_fail("closing succeeds")?;
    match timeout(PROMPT, requests_in.next())
        .await
        .or_fail("the end of a closed receiver comes at once")?
    {
        None => Ok(()),
        Some(late) => Err(Failure::new(format!("a closed receiver yielded {late:?}"))),
    }
}

/// Closing a transport leaves those of others open.
pub async fn close_leaves_others_alone(stage: &Stage) -> Verdict {
    let _server = stage.serve(echo()).await?;
    let transport = stage.calling().await?;
    let (leaving, staying) = (stage.client_on(&transport).await?, stage.client().await?);
    leaving.call::<u32>("echo", &1).await.or_fail("the one works")?;
    staying.call::<u32>("echo", &1).await.or_fail("the other works")?;
    transport.close().await.or_fail("closing succeeds")?;
    staying.call::<u32>("echo", &2).await.or_fail("the other still works")?;
    Ok(())
}

fn echo() -> Router<MessagePack> {
    Router::new(MessagePack)
        .method("echo", |n: u32| async move { Ok(n) })
        .method("hang", |(): ()| async move { Ok(std::future::pending::<u32>().await) })
}

fn kind_of<T>(outcome: &Result<T, CallError>) -> Option<ErrorKind> {
    outcome.as_ref().err().and_then(CallError::kind)
}

/// What opening an end came to, in time.
async fn bound_or_error<F: IntoFuture>(opening: F) -> Verdict<F::Output> {
    timeout(PROMPT, opening.into_future()).await.or_fail("opening ends at once")
}
