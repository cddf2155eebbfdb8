//! The supervision of a component that runs, and its end.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use polywire_core::Transport;
use tokio::time::{Instant, sleep_until, timeout};

use crate::canaries::watch_canaries;
use crate::component::{Component, Stop};
use crate::exit::Exit;
#[cfg(feature = "metrics")]
use crate::failure_gauges::record_failures;
use crate::probe::Probe;
use crate::transport::AppTransport;

/// Watches a component until a stop is requested, then ends the component, and its probe port with
/// it. Canaries are sent at the interval `canary`, if there is one.
pub(crate) async fn supervise(
    component: Component,
    probe: Option<Probe>,
    canary: Option<Duration>,
) {
    tokio::select! {
        _ = component.lifecycle().stop_requested() => {}
        () = watch(&component, canary) => {}
    }
    let exit = end(&component).await;
    // The next start of the component binds the same port.
    if let Some(probe) = probe {
        probe.close().await;
    }
    component.lifecycle().set_ended(exit);
}

/// Stops the component when its transport is refused for good, sends canaries, and counts
/// failed deliveries. Never resolves.
///
/// The end of an endpoint stops the component by itself. The watch is for clients, and for
/// endpoints that are stopped.
async fn watch(component: &Component, canary: Option<Duration>) {
    let transport = component.transport();
    let refusal = async {
        let error = transport.refused().await;
        component.lifecycle().request_stop(Some(Exit::of_transport(error)));
        pending::<Infallible>().await
    };
    let canaries = async {
        match canary {
            Some(every) => watch_canaries(component.name(), transport, every).await,
            None => pending().await,
        }
    };
    #[cfg(feature = "metrics")]
    let failures = record_failures(transport);
    #[cfg(not(feature = "metrics"))]
    let failures = pending::<Infallible>();
    tokio::join!(refusal, canaries, failures);
}

/// Waits for a request to stop, then drains the component, closes its transport, drops what is
/// left, and returns the reason of the end.
///
/// The drain has the rest of the grace period, which counts from the request, and ends early if the
/// stop is hurried. Handlers that run after that are dropped. The transport then gets the rest of
/// the grace period to close, at least 500 ms and at most 2 s. Tasks and services are dropped last,
/// so that a pusher can still send while the transport closes.
pub(crate) async fn end(component: &Component) -> Exit {
    let Stop { since, cause } = component.lifecycle().stop_requested().await;
    // The request has turned readiness off by now.
    let (name, deadline) = (component.name(), since + component.grace());
    let why = cause.as_ref().map(tracing::field::display);
    tracing::info!(service = name, cause = why, "stopping");
    let (is_drained, is_hurried) = tokio::select! {
        () = component.drain() => (true, false),
        () = sleep_until(deadline) => (false, false),
        () = component.lifecycle().hurried() => (false, true),
    };
    let running = component.abort_handlers();
    // A blocked connection keeps replies back, and so the handlers that send them.
    let connection = component.transport().troubled_connection();
    let left = deadline.saturating_duration_since(Instant::now());
    close(component.transport(), left.clamp(CLOSE_MIN, CLOSE_MAX)).await;
    component.clear();
    let exit = match (cause, is_drained) {
        (Some(failure), _) => failure,
        (None, true) => Exit::Drained,
        (None, false) => Exit::GraceExceeded { running },
    };
    let code = exit.code();
    match &exit {
        Exit::Drained => tracing::info!(service = name, "stopped"),
        // The second signal has ordered this end.
        Exit::GraceExceeded { .. } if is_hurried => {
            tracing::warn!(service = name, %exit, code, connection, "stopped");
        }
        _ => tracing::error!(service = name, %exit, code, connection, "stopped"),
    }
    exit
}

/// A transport gets this time to close even after the grace period.
const CLOSE_MIN: Duration = Duration::from_millis(500);
/// A transport that does not close in this time is dropped, which closes it as well.
pub(crate) const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Closes a transport, and waits at most for `limit`. A failure is logged and otherwise ignored.
pub(crate) async fn close(transport: &AppTransport, limit: Duration) {
    match timeout(limit, transport.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(?error, "cannot close the transport"),
        Err(_) => {
            tracing::warn!(limit_ms = limit.as_millis(), "the transport did not close in time");
        }
    }
}
