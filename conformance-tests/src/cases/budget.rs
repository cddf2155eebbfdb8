//! Operations that fail at once, in a loop, and the turns of other tasks.
//!
//! Tokio gives a task a budget for each of its turns. An operation takes a unit of it, and a task
//! without units left ends its turn. An operation that fails before anything is sent must take a
//! unit as well. Otherwise a loop over it keeps its thread from all other tasks.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use polywire_codec::MessagePack;
use polywire_core::{Client, Publisher, Pusher, Service, Transport};

use super::request::raw_request;
use super::services::echo;
use crate::context::TestContext;
use crate::names::{CHANNEL, QUEUE};
use crate::verdict::{Failure, OrFail, Verdict};
use crate::wait::{PATIENCE, in_time, within};

/// The number of operations of a loop: several times the budget of a turn, which is 128.
const OPERATIONS: usize = 1_000;

/// A loop over calls that fail at once leaves other tasks their turns.
///
/// Checked with calls and one-way calls over the limit of a body, of a method without a valid name,
/// and over a closed transport, and with calls to a service without a server. Each loop gets one
/// turn, in which it must not come to its end.
///
/// A backend that has to ask a peer or a broker for the failure ends the turn by waiting.
///
/// Catches backends whose refusals restore the budget that their caller has used up.
pub async fn failing_calls_leave_other_tasks_their_turns(context: &TestContext) -> Verdict {
    let _server = context.serve(echo()).await?;
    let limit = context.calling().await?.capabilities().body_max;
    let (requester, body) = (context.requester().await?, Bytes::from(vec![0; limit + 1]));
    for oneway in [false, true] {
        let (requester, body) = (requester.clone(), body.clone());
        leaves_turns("requests over the limit", move || {
            let (requester, body) = (requester.clone(), body.clone());
            async move {
                let Ok(mut request) = raw_request("echo") else { return false };
                request.message.body = body.into();
                request.oneway = oneway;
                requester.call(request).await.is_err()
            }
        })
        .await?;
    }
    let transport = context.calling().await?;
    let missing = Client::connect(&transport, "missing", MessagePack).timeout(PATIENCE);
    let missing = in_time(missing).await?;
    leaves_turns("calls to a service without a server", move || {
        let client = missing.clone();
        async move { client.call::<u32>("echo", &1).await.is_err() }
    })
    .await?;
    let client = context.client_on(&transport).await?;
    calls_leave_turns("of a method without a valid name", "no address!", &client).await?;
    in_time(transport.close()).await?;
    calls_leave_turns("over a closed transport", "echo", &client).await
}

/// A loop over pushes that fail at once leaves other tasks their turns.
///
/// Checked with pushes over a closed transport, and with jobs whose method has no valid name.
///
/// Catches the same as [`failing_calls_leave_other_tasks_their_turns`].
///
/// Needs the capability `pipeline`.
pub async fn failing_pushes_leave_other_tasks_their_turns(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let transport = context.calling().await?;
    let pusher = in_time(Pusher::connect(&transport, QUEUE, MessagePack)).await?;
    let misnamed = pusher.clone();
    leaves_turns("pushes to a method without a valid name", move || {
        let pusher = misnamed.clone();
        async move { pusher.push_call("no address!", &1).await.is_err() }
    })
    .await?;
    in_time(transport.close()).await?;
    leaves_turns("pushes over a closed transport", move || {
        let pusher = pusher.clone();
        async move { pusher.push(&1).await.is_err() }
    })
    .await
}

/// A loop over events that cannot be published leaves other tasks their turns.
///
/// Checked with events over a closed transport, and with events whose topic is not valid.
///
/// Catches the same as [`failing_calls_leave_other_tasks_their_turns`].
///
/// Needs the capability `pubsub`.
pub async fn failing_publishes_leave_other_tasks_their_turns(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let transport = context.calling().await?;
    let publisher = in_time(Publisher::connect(&transport, CHANNEL, MessagePack)).await?;
    let misnamed = publisher.clone();
    leaves_turns("events without a valid topic", move || {
        let publisher = misnamed.clone();
        async move { publisher.publish("no address!", &1).await.is_err() }
    })
    .await?;
    in_time(transport.close()).await?;
    leaves_turns("events over a closed transport", move || {
        let publisher = publisher.clone();
        async move { publisher.publish("a", &1).await.is_err() }
    })
    .await
}

/// Checks loops over calls and over one-way calls of a method, which all fail.
///
/// # Errors
///
/// As [`leaves_turns`].
async fn calls_leave_turns(
    what: &str,
    method: &'static str,
    client: &Client<MessagePack>,
) -> Verdict {
    let calling = client.clone();
    leaves_turns(&format!("calls {what}"), move || {
        let client = calling.clone();
        async move { client.call::<u32>(method, &1).await.is_err() }
    })
    .await?;
    let sending = client.clone();
    leaves_turns(&format!("one-way calls {what}"), move || {
        let client = sending.clone();
        async move { client.request(method).send(&1).await.is_err() }
    })
    .await
}

/// Polls a loop over an operation once, in a task of its own. The operation returns true if it
/// failed.
///
/// One poll shows the end of a turn on each runtime, with any number of threads.
///
/// # Errors
///
/// [`Failure::Failed`], if the loop ends in its first turn, or an operation succeeds.
async fn leaves_turns<F>(what: &str, operate: impl Fn() -> F + Send + 'static) -> Verdict
where
    F: Future<Output = bool> + Send + 'static,
{
    let turn = tokio::spawn(async move {
        let mut operations = pin!(async move {
            for _ in 0..OPERATIONS {
                if !operate().await {
                    return false;
                }
            }
            true
        });
        poll_fn(|cx| Poll::Ready(operations.as_mut().poll(cx))).await
    });
    let turn = within(PATIENCE, "a turn ends", turn).await?.or_fail("a loop does not panic")?;
    match turn {
        Poll::Pending => Ok(()),
        Poll::Ready(true) => {
            Err(Failure::new(format!("{OPERATIONS} {what} left other tasks no turn")))
        }
        Poll::Ready(false) => Err(Failure::new(format!("one of many {what} did not fail"))),
    }
}
