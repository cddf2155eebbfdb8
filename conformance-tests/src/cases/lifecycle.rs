//! Opening and closing transports.
//!
//! Closing a transport ends all its endpoint handles at once, and no others. It waits for no peer.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::worker::Ended;
use polywire_core::{CallError, Client, ErrorKind, Router, Server, Transport, Window};

use super::request::raw_message;
use super::services;
use crate::context::TestContext;
use crate::names::SERVICE;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{eventually, in_time, within};

/// The bound for anything that is to end at once, on a machine that is busy with something else.
///
/// Half of the timeout of a call, so that an end by a timeout is not taken for a prompt one.
const PROMPT: Duration = Duration::from_secs(15);

/// Closing twice is closing once, and operations after it fail as closed.
///
/// Calls, clients and servers of the closed transport fail as [`ErrorKind::Closed`].
///
/// Catches a close that hangs, does nothing, or fails the second time.
pub async fn close_twice_is_close_once(context: &TestContext) -> Verdict {
    let _server = context.serve(echo()).await?;
    let transport = context.calling().await?;
    let client = context.client_on(&transport).await?;
    client.call::<u32>("echo", &1).await.or_fail("an open transport works")?;
    for time in ["first", "second"] {
        let closed =
            within(PROMPT, &format!("the {time} close ends at once"), transport.close()).await?;
        closed.or_fail(&format!("the {time} close succeeds"))?;
    }
    let outcome =
        within(PROMPT, "a call after closing ends", client.call::<u32>("echo", &1)).await?;
    ensure!(
        kind_of(&outcome) == Some(ErrorKind::Closed),
        "a call after closing ended with {outcome:?}"
    );
    let Err(error) = opened_or_refused(Client::connect(&transport, SERVICE, MessagePack)).await?
    else {
        return Err(Failure::new("a closed transport opened a client"));
    };
    ensure!(
        error.kind() == ErrorKind::Closed,
        "opening a client on a closed transport failed as {error:?}"
    );
    let Err(error) = opened_or_refused(Server::bind(&transport, SERVICE)).await? else {
        return Err(Failure::new("a closed transport bound a server"));
    };
    ensure!(error.kind() == ErrorKind::Closed, "binding on a closed transport failed as {error:?}");
    Ok(())
}

/// Closing a transport ends its calls in flight at once.
///
/// Three calls without an answer end as [`ErrorKind::Closed`], and none stays in flight.
///
/// Catches streams that do not end when their transport is closed.
pub async fn close_wakes_pending_calls(context: &TestContext) -> Verdict {
    let server = context.serve(echo()).await?;
    let transport = context.calling().await?;
    let client = context.client_on(&transport).await?;
    let calls: Vec<_> = (0..3).map(|_| client.request("hang").start::<u32>(&())).collect();
    eventually("the requests arrive", || server.handle.stats().running == 3).await?;
    within(PROMPT, "closing ends at once", transport.close()).await?.or_fail("closing succeeds")?;
    for call in calls {
        let outcome =
            within(PROMPT, "a pending call ends at once", call.or_fail("a call starts")?).await?;
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
///
/// The future of [`Server::serve`] resolves.
///
/// Catches a close that leaves a consumer open.
pub async fn close_ends_serving(context: &TestContext) -> Verdict {
    let transport = context.serving().await?;
    let server = in_time(Server::bind(&transport, SERVICE)).await?;
    let serving = tokio::spawn(server.serve(echo()));
    let client = context.client().await?;
    client.call::<u32>("echo", &1).await.or_fail("an open transport works")?;
    within(PROMPT, "closing ends at once", transport.close()).await?.or_fail("closing succeeds")?;
    let ended = within(PROMPT, "serving ends at once", serving).await?;
    ended.or_fail("serving does not panic")?.or_fail("serving ends well")?;
    Ok(())
}

/// Serving ends with its reason.
///
/// A drained server yields [`Ended::Drained`], a server whose transport is closed
/// [`Ended::Closed`].
///
/// Each server answers a call before its end.
///
/// Catches streams that yield an error when they are closed or stopped, and streams that end by
/// themselves.
pub async fn serving_ends_with_its_reason(context: &TestContext) -> Verdict {
    for expected in [Ended::Drained, Ended::Closed] {
        let transport = context.serving().await?;
        let server = in_time(Server::bind(&transport, SERVICE)).await?;
        let handle = server.handle();
        let serving = tokio::spawn(server.serve(echo()));
        let client = context.client().await?;
        client.call::<u32>("echo", &1).await.or_fail("an open transport works")?;
        let ending = async {
            match expected {
                Ended::Closed => transport.close().await,
                _ => {
                    handle.drain().await;
                    Ok(())
                }
            }
        };
        let ended = within(PROMPT, "the end comes at once", ending).await?;
        ended.or_fail("the end succeeds")?;
        let ended = within(PROMPT, "serving ends at once", serving)
            .await?
            .or_fail("serving does not panic")?;
        ensure!(
            ended.as_ref().is_ok_and(|ended| *ended == expected),
            "serving ended with {ended:?}, not with {expected:?}"
        );
    }
    Ok(())
}

/// A handler that drains its own server answers, and the server ends as drained.
///
/// The drain returns at once in the handler. The server has stopped to receive when the handler
/// ends.
///
/// Catches backends that take the means to reply away from a server that has stopped.
pub async fn handler_may_drain_its_server(context: &TestContext) -> Verdict {
    let transport = context.serving().await?;
    let server = in_time(Server::bind(&transport, SERVICE)).await?;
    let handle = server.handle();
    let router = Router::new(MessagePack).method("stop", move |(): ()| {
        let handle = handle.clone();
        async move {
            handle.drain().await;
            // The first poll is that of the receiving task, which stops to receive now.
            tokio::task::yield_now().await;
            Ok("stopping")
        }
    });
    let serving = tokio::spawn(server.serve(router));
    let client = context.client().await?;
    let reply: String =
        client.call("stop", &()).await.or_fail("a handler that drains its server answers")?;
    ensure!(reply == "stopping", "the handler that drains its server answered {reply:?}");
    let ended =
        within(PROMPT, "serving ends at once", serving).await?.or_fail("serving does not panic")?;
    ensure!(
        ended.as_ref().is_ok_and(|ended| *ended == Ended::Drained),
        "a server that its handler drains ended with {ended:?}"
    );
    Ok(())
}

/// A transport serves a service again after its server has drained.
///
/// Twice, a server is bound on one transport, answers a new client, and drains.
///
/// Catches backends whose transport gives requests to its first handle alone, or keeps its place.
pub async fn drained_service_is_served_again(context: &TestContext) -> Verdict {
    let transport = context.serving().await?;
    for round in 1..=2_u32 {
        let server = in_time(Server::bind(&transport, SERVICE)).await?;
        let handle = server.handle();
        let serving = tokio::spawn(server.serve(echo()));
        let client = context.client().await?;
        let reply: u32 =
            client.call("echo", &round).await.or_fail(&format!("serving {round} answers"))?;
        ensure!(reply == round, "serving {round} answered {reply}");
        within(PROMPT, "a drain without work ends at once", handle.drain()).await?;
        let ended = within(PROMPT, "serving ends at once", serving).await?;
        let ended = ended.or_fail("serving does not panic")?.or_fail("serving ends well")?;
        ensure!(ended == Ended::Drained, "serving {round} ended as {ended:?}");
    }
    Ok(())
}

/// A responder yields nothing after it was closed.
///
/// Two requests were sent and not received yet when the transport is closed. The stream ends
/// instead of yielding them.
///
/// Catches deliveries that were fetched in advance, and are yielded after the close.
pub async fn nothing_arrives_after_close(context: &TestContext) -> Verdict {
    let service = SERVICE.try_into().or_fail("the service has a name")?;
    let transport = context.serving().await?;
    let (_replies, mut requests_in) =
        in_time(transport.responder(&service, Window::new(9))).await?;
    let (requests, _replies_in) = in_time(context.calling().await?.requester(&service)).await?;
    for n in 0..3 {
        in_time(requests.send(raw_message(n)?)).await?;
    }
    let first = within(PROMPT, "a request arrives at once", requests_in.next()).await?;
    first.or_fail("a request arrives")?.or_fail("a request can be read")?.receipt.ack();
    within(PROMPT, "closing ends at once", transport.close()).await?.or_fail("closing succeeds")?;
    match within(PROMPT, "the end of a closed receiver comes at once", requests_in.next()).await? {
        None => Ok(()),
        Some(late) => Err(Failure::new(format!("a closed receiver yielded {late:?}"))),
    }
}

/// Closing a transport leaves other transports open.
///
/// Another client of the same space is still answered.
///
/// Catches connections that transports share without counting their users.
pub async fn close_leaves_others_alone(context: &TestContext) -> Verdict {
    let _server = context.serve(echo()).await?;
    let transport = context.calling().await?;
    let (leaving, staying) = (context.client_on(&transport).await?, context.client().await?);
    leaving.call::<u32>("echo", &1).await.or_fail("a call over one transport is answered")?;
    staying.call::<u32>("echo", &1).await.or_fail("a call over the other transport is answered")?;
    transport.close().await.or_fail("closing succeeds")?;
    staying.call::<u32>("echo", &2).await.or_fail("the other transport still works")?;
    Ok(())
}

/// A service whose method `echo` returns its argument, and whose method `hang` never ends.
fn echo() -> Router<MessagePack> {
    services::echo().method("hang", |(): ()| async move { Ok(std::future::pending::<u32>().await) })
}

/// The kind of the error that a call ended with, if it failed.
fn kind_of<T>(outcome: &Result<T, CallError>) -> Option<ErrorKind> {
    outcome.as_ref().err().and_then(CallError::kind)
}

/// Returns the outcome of opening an endpoint handle, which must end at once.
///
/// # Errors
///
/// [`Failure::Failed`], if it does not end within [`PROMPT`].
async fn opened_or_refused<F: IntoFuture>(opening: F) -> Verdict<F::Output> {
    within(PROMPT, "opening ends at once", opening.into_future()).await
}
