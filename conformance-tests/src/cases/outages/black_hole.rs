//! Pushing and publishing into a link that swallows everything.

use futures_util::future::{join, join_all};
use polywire_codec::MessagePack;
use polywire_core::{Error, ErrorKind, Publisher, Pusher, Result, Subscriber, Transport, Window};
use tokio::time::Instant;

use super::recovery::{BRIEF, events_flow_again, jobs_flow_again};
use crate::context::TestContext;
use crate::hook::{Direction, Hook};
use crate::names::{CHANNEL, QUEUE};
use crate::verdict::{Verdict, ensure};
use crate::wait::{LATE_MAX, PATIENCE, in_time, within};

/// Pushing and publishing into a link that swallows everything time out as configured, and work
/// again when it is healed.
///
/// Ten pushes, and ten publishes where the backend has `pubsub`, each have a timeout of 2 s. Each
/// must end within 4 s: the timeout, and 2 s for a busy machine.
///
/// Success fails the case if the backend has the capability `holding`: its broker confirms
/// messages, and cannot confirm one that was swallowed. Without a broker, success means a place in
/// a buffer.
///
/// Catches pushes that are reported as done once they are buffered, and sends that block the
/// thread.
///
/// Needs the capability `pipeline` and the hook `black-hole to-server`.
pub async fn a_black_hole_ends_pushes_in_time(context: &TestContext) -> Verdict {
    let hook = Hook::BlackHole(Direction::ToServer);
    context.require("pipeline", |can| can.pipeline).await?;
    context.require_hook(hook)?;
    let can = context.calling().await?.capabilities();
    let mut jobs = context.puller(Window::new(4)).await?;
    let pusher =
        in_time(Pusher::connect(&context.calling().await?, QUEUE, MessagePack).timeout(BRIEF))
            .await?;
    let pubsub = if can.pubsub { Some(subscribed(context).await?) } else { None };

    context.disturb(hook).await?;
    let pushes = join_all((1_000..1_010_u32).map(async |n| {
        let ended = ends_in_time("a push", pusher.push(&n)).await?;
        is_disturbed("a push", &ended, can.holding)
    }));
    let publishes = join_all((0..10_u32).map(async |n| {
        let Some((publisher, _)) = &pubsub else { return Ok(()) };
        let ended = ends_in_time("a publish", publisher.publish("b.x", &n)).await?;
        is_disturbed("a publish", &ended, can.holding)
    }));
    let (pushed, published) = join(pushes, publishes).await;
    pushed.into_iter().chain(published).collect::<Verdict>()?;

    context.heal().await?;
    jobs_flow_again(&pusher, &mut jobs, 0).await?;
    match pubsub {
        // A number that was not published before.
        Some((publisher, mut events)) => events_flow_again(&publisher, &mut events, 99).await,
        None => Ok(()),
    }
}

/// Opens a publisher and a subscriber to `b.*`.
async fn subscribed(context: &TestContext) -> Verdict<(Publisher<MessagePack>, Subscriber<u32>)> {
    let subscriber = context.subscriber(["b.*"]).await?;
    let transport = context.calling().await?;
    let publisher = Publisher::connect(&transport, CHANNEL, MessagePack).timeout(BRIEF);
    Ok((in_time(publisher).await?, subscriber))
}

/// Awaits an operation with a timeout of [`BRIEF`], which must end in time. Returns its outcome.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if it takes longer than its timeout and
/// [`LATE_MAX`].
async fn ends_in_time(
    what: &str,
    operation: impl Future<Output = Result<()>>,
) -> Verdict<Result<()>> {
    let start = Instant::now();
    let ended = within(PATIENCE, &format!("{what} ends"), operation).await?;
    let took = start.elapsed();
    ensure!(took <= BRIEF + LATE_MAX, "{what} with a timeout of {BRIEF:?} ended after {took:?}");
    Ok(ended)
}

/// Checks the outcome of an operation whose message was swallowed.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if it succeeded where a broker confirms messages,
/// or failed with an unexpected error.
fn is_disturbed(what: &str, outcome: &Result<()>, is_confirmed: bool) -> Verdict {
    // Unroutable, where the backend has noticed by then that the link is dead.
    let expected = [ErrorKind::DeadlineExceeded, ErrorKind::Disconnected, ErrorKind::Unroutable];
    match outcome.as_ref().map_err(Error::kind) {
        Ok(()) => ensure!(
            !is_confirmed,
            "{what} into a link that swallows everything succeeded, though no broker can have confirmed it"
        ),
        Err(kind) => ensure!(
            expected.contains(&kind),
            "{what} into a link that swallows everything ended with {outcome:?}"
        ),
    }
    Ok(())
}
