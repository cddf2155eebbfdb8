//! Health: what a transport reports about its connection and its endpoint handles.
//!
//! A backend whose health is unknown runs none of these cases.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::health::{EndpointHealth, Health, HealthChanges, HealthReader};
use polywire_core::{
    AnyTransport, ErrorKind, Puller, Router, Server, Subscriber, Transport, Worker,
};
use tokio::sync::{mpsc, watch};

use super::disturbed::answered_again;
use super::services::echo;
use crate::context::TestContext;
use crate::hook::Hook;
use crate::names::{CHANNEL, QUEUE, SERVICE};
use crate::verdict::{Failure, Missing, OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, in_time, within};

/// The limit of a canary that does not come back.
const LOST: Duration = Duration::from_secs(2);

/// Endpoint handles consume once they are bound.
///
/// A server, a puller and a subscriber are each reported as consuming when `bind` returns. The
/// entry of a dropped puller is gone. A closed transport is not ready.
///
/// The puller and the subscriber are checked where the backend has `pipeline` and `pubsub`.
///
/// Catches handles that are reported late, never, or after their end.
pub async fn bound_handles_consume(context: &TestContext) -> Verdict {
    let transport = context.serving().await?;
    let health = known(&transport)?;
    let _server = in_time(Server::bind(&transport, SERVICE)).await?;
    expect(&health.current(), 1, "a server is bound")?;
    let capabilities = transport.capabilities();
    if capabilities.pipeline {
        let transport = context.serving().await?;
        let bound = in_time(Puller::<u32>::bind(&transport, QUEUE, MessagePack)).await?;
        expect(&transport.health().current(), 1, "a puller is bound")?;
        drop(bound);
        let left = transport.health().current().bound();
        ensure!(left == 0, "after a puller was dropped, {left} handles are bound");
    }
    if capabilities.pubsub {
        let publishing = context.calling().await?;
        let publisher = polywire_core::Publisher::connect(&publishing, CHANNEL, MessagePack);
        let _publisher = in_time(publisher).await?;
        let transport = context.serving().await?;
        let bound = Subscriber::<u32>::bind(&transport, CHANNEL, MessagePack).filter("#");
        let _subscriber = in_time(bound).await?;
        expect(&transport.health().current(), 1, "a subscriber is bound")?;
    }
    in_time(transport.close()).await?;
    let closed = health.current();
    ensure!(!closed.is_ready(), "a closed transport is ready: {closed}");
    Ok(())
}

/// A drain turns readiness off before it begins.
///
/// A handler runs when the drain is requested. The health is not ready from that moment on, while
/// the handler runs, and after the drain.
///
/// The call that runs is answered after the drain was requested.
///
/// Catches receivers that do not let core report drains, and readiness that follows the end.
pub async fn drain_turns_readiness_off_first(context: &TestContext) -> Verdict {
    known(&context.serving().await?)?;
    let (begun, mut running) = mpsc::channel(1);
    let (finish, finished) = watch::channel(false);
    let router = Router::new(MessagePack).method("hold", move |(): ()| {
        let (begun, mut finished) = (begun.clone(), finished.clone());
        async move {
            let _ = begun.send(()).await;
            let _ = finished.wait_for(|finished| *finished).await;
            Ok(1_u32)
        }
    });
    let server = context.serve(router).await?;
    let health = known(&server.transport)?;
    expect(&health.current(), 1, "a server is bound")?;
    let client = context.client().await?;
    let call = tokio::spawn(async move { client.call::<u32>("hold", &()).await });
    within(PATIENCE, "the request arrives", running.recv()).await?;
    let mut draining = Box::pin(server.handle.drain());
    // A single poll requests the drain. Nothing else has run since.
    let polled = futures_util::poll!(&mut draining);
    ensure!(polled.is_pending(), "a drain ended although a handler ran");
    let current = health.current();
    ensure!(
        !current.is_ready(),
        "right after a drain was requested, the health is ready: {current}"
    );
    ensure!(current.is_draining(), "a server that drains is not reported so: {current}");
    finish.send(true).or_fail("the handler waits")?;
    let replied = within(PATIENCE, "the call ends", call).await?;
    replied.or_fail("the call does not panic")?.or_fail("the call is answered")?;
    within(PATIENCE, "the drain ends", draining).await?;
    let drained = health.current();
    ensure!(!drained.is_ready(), "after the drain, the health is ready: {drained}");
    Ok(())
}

/// A canary comes back and reaches no handler.
///
/// Canaries go to a server and to a worker. No counter counts them. The canary of a server that is
/// bound and never polled does not come back.
///
/// A backend without canaries reports them as unsupported, and does not run the case.
///
/// Catches canaries that are delivered, counted, lost, or answered without passing the receiver.
pub async fn canary_comes_back_and_reaches_no_handler(context: &TestContext) -> Verdict {
    known(&context.serving().await?)?;
    let runs = Arc::new(AtomicUsize::new(0));
    let count = {
        let runs = runs.clone();
        move || {
            runs.fetch_add(1, Ordering::Relaxed);
            async { Ok(()) }
        }
    };
    let handler = count.clone();
    let server = context.serve(Router::new(MessagePack).method("count", move |(): ()| handler()));
    let server = server.await?;
    known(&server.transport)?;
    came_back(&server.transport, "a server").await?;
    let stats = server.handle.stats();
    ensure!(
        (stats.answered, stats.rejected, stats.expired) == (0, 0, 0),
        "a server counted a canary: {stats:?}"
    );
    if server.transport.capabilities().pipeline {
        let transport = context.serving().await?;
        let worker = in_time(Worker::bind(&transport, QUEUE, MessagePack)).await?;
        let handle = worker.handle();
        let working = tokio::spawn(worker.work(move |_: u32| count()));
        came_back(&transport, "a worker").await?;
        let stats = handle.stats();
        ensure!((stats.done, stats.rejected) == (0, 0), "a worker counted a canary: {stats:?}");
        working.abort();
    }
    let runs = runs.load(Ordering::Relaxed);
    ensure!(runs == 0, "{runs} canaries reached a handler");
    let transport = context.serving().await?;
    let _idle = in_time(Server::bind(&transport, "idle")).await?;
    let report = transport.health().canary(LOST).await;
    ensure!(!report.is_ok(), "the canary of a server that is never polled came back: {report:?}");
    Ok(())
}

/// A cut link turns readiness off, and on again.
///
/// The health of a client's transport is off after the cut, and on when the link is back. The
/// server consumes again.
///
/// Catches a health that does not notice a lost link, or stays off.
///
/// Needs the hook `sever`.
pub async fn cut_link_turns_readiness_off_and_on(context: &TestContext) -> Verdict {
    off_and_on(context, Hook::Sever, false).await
}

/// A dead broker turns readiness off until it is back.
///
/// The health of a client's transport and that of a server's are off while the broker is away.
///
/// Catches a health that does not notice a dead broker, or stays off.
///
/// Needs the hook `kill-broker`.
pub async fn dead_broker_turns_readiness_off_and_on(context: &TestContext) -> Verdict {
    off_and_on(context, Hook::KillBroker, true).await
}

/// Checks that the health turns off under a disturbance and on after it, and that a call is
/// answered then.
///
/// `lasts` is true for a disturbance that ends with healing. The server's health must turn off
/// under such a disturbance as well. Under a short one, the server may need no link of its own.
async fn off_and_on(context: &TestContext, hook: Hook, lasts: bool) -> Verdict {
    context.require_hook(hook)?;
    let server = context.serve(echo()).await?;
    let transport = context.calling().await?;
    let mut calling = known(&transport)?.changes();
    let mut serving = known(&server.transport)?.changes();
    let client = context.client_on(&transport).await?;
    client.call::<u32>("echo", &1).await.or_fail("a call over a link that holds")?;
    until(&mut calling, "before the disturbance, a client is ready", Health::is_ready).await?;
    until(&mut serving, "before the disturbance, a server is ready", Health::is_ready).await?;
    let is_off = |health: &Health| !health.is_ready();
    let off = async {
        until(&mut calling, "under the disturbance, a client is not ready", is_off).await?;
        if lasts {
            until(&mut serving, "under the disturbance, a server is not ready", is_off).await?;
        }
        Ok(())
    };
    let (disturbed, off) = tokio::join!(context.disturb(hook), off);
    disturbed.and(off)?;
    if lasts {
        context.heal().await?;
    }
    // Anew, from the current health: a server that needs no link has not changed.
    let mut calling = known(&transport)?.changes();
    let mut serving = known(&server.transport)?.changes();
    until(&mut calling, "after the disturbance, a client is ready", Health::is_ready).await?;
    until(&mut serving, "after the disturbance, a server is ready", Health::is_ready).await?;
    answered_again(&client).await
}

/// Returns the health of a transport that reports it.
///
/// # Errors
///
/// [`Failure::NotRun`], naming `health`, if the transport reports none.
fn known(transport: &AnyTransport) -> Verdict<HealthReader> {
    let health = transport.health();
    if health.current().is_known() {
        return Ok(health);
    }
    Err(Failure::NotRun(Missing::Capability("health")))
}

/// Checks that this many handles are bound, and that all of them consume.
///
/// `when` names the moment in the sentence of the failure.
fn expect(health: &Health, handles: usize, when: &str) -> Verdict {
    let counts = (health.consuming(), health.bound());
    ensure!(counts == (handles, handles), "once {when}, the health is: {health}");
    ensure!(health.is_ready(), "once {when}, the health is not ready: {health}");
    Ok(())
}

/// Checks that the canaries of a transport come back by way of their own handles.
///
/// # Errors
///
/// [`Failure::NotRun`], naming `canaries`, if the backend has none. [`Failure::Failed`], if a
/// canary is lost, comes back by way of another handle, or counts as a delivery.
async fn came_back(transport: &AnyTransport, of: &str) -> Verdict {
    let report = transport.health().canary(PATIENCE).await;
    let errors = report.endpoints.iter().filter_map(|endpoint| endpoint.outcome.as_ref().err());
    if errors.into_iter().any(|error| error.kind() == ErrorKind::Unsupported) {
        return Err(Failure::NotRun(Missing::Capability("canaries")));
    }
    ensure!(report.is_own(), "the canary of {of} did not come back: {report:?}");
    let current = transport.health().current();
    let received: u64 = current.endpoints.iter().map(EndpointHealth::received).sum();
    ensure!(received == 0, "{of} counted a canary among {received} deliveries");
    Ok(())
}

/// Waits until the health is as expected.
///
/// Waits for up to [`PATIENCE`]. A new stream yields the current health first.
async fn until(
    changes: &mut HealthChanges,
    what: &str,
    holds: impl Fn(&Health) -> bool,
) -> Verdict {
    let mut last = None;
    let waiting = async {
        while let Some(health) = changes.next().await {
            if holds(&health) {
                return Ok(());
            }
            last = Some(health);
        }
        Err(Failure::new("the changes of the health ended, though the transport is open"))
    };
    let waited = within(PATIENCE, what, waiting).await;
    waited.map_err(|late| Failure::new(format!("{late}; the last health was {last:?}")))?
}
