//! Canaries of a component: through the queue of each endpoint and back.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::future::join_all;
use polywire_core::health::{CanaryEcho, EndpointCanary};
use polywire_core::{ErrorKind, Result};
use tokio::time::sleep;

use crate::transport::AppTransport;

/// Time for a canary; less than a connection to the port of the probes may take.
pub(crate) const CANARY_MAX: Duration = Duration::from_secs(5);
/// The longest pause after a lost canary: readiness returns soon after the trouble has ended.
const LOST_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Sends a canary through the queue of each endpoint, all at the same time. Returns the outcomes
/// with the roles and names of the endpoints.
pub(crate) async fn send_canaries(transport: &AppTransport) -> Vec<(String, Result<CanaryEcho>)> {
    let healths: Vec<_> = transport.healths().collect();
    let reports = join_all(healths.iter().map(|health| health.canary(CANARY_MAX))).await;
    let endpoints = reports.into_iter().flat_map(|report| report.endpoints);
    let outcome = |EndpointCanary { role, name, outcome, .. }| (format!("{role} {name}"), outcome);
    endpoints.map(outcome).collect()
}

/// Sends canaries at an interval, and notes the outcomes in the transport, whose readiness they
/// turn off and on.
///
/// Never resolves. The first canaries are sent at once. A lost canary is logged, and so is the
/// first return after it.
pub(crate) async fn watch_canaries(
    service: &str,
    transport: &AppTransport,
    every: Duration,
) -> Infallible {
    let mut is_lost = false;
    loop {
        let lost = lost(send_canaries(transport).await);
        match &lost {
            Some(canary) if !is_lost => tracing::warn!(service, canary, "a canary was lost"),
            None if is_lost => tracing::info!(service, "the canaries come back again"),
            _ => {}
        }
        is_lost = lost.is_some();
        transport.note_canaries(lost);
        sleep(if is_lost { every.min(LOST_PAUSE_MAX) } else { every }).await;
    }
}

/// Returns the first canary that did not come back, with the reason.
///
/// An endpoint without canaries counts as little as one that drains or has stopped, which the
/// health shows.
fn lost(outcomes: Vec<(String, Result<CanaryEcho>)>) -> Option<String> {
    outcomes.into_iter().find_map(|(endpoint, outcome)| match outcome {
        Err(error) if !matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Closed) => {
            Some(format!("{endpoint}: {error}"))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use polywire_core::{Address, AnyTransport, Memory, Transport, Window};
    use tokio::time::timeout;

    use super::*;
    use crate::recorded_log::RecordedLog;
    use crate::routes::Routes;

    #[tokio::test(start_paused = true)]
    async fn loss_of_canaries_and_their_return_have_a_line_each() {
        let (log, _guard) = RecordedLog::begin();
        let mut routes = Routes::new();
        routes.add(None, AnyTransport::new(Memory::new()));
        let transport = AppTransport::new(routes);
        let jobs = Address::new("jobs").unwrap();
        let mut puller = transport.puller(&jobs, Window::new(1)).await.unwrap();
        let every = LOST_PAUSE_MAX;
        let mut watching = Box::pin(watch_canaries("shop", &transport, every));
        // A puller that is not polled loses each canary.
        let two_losses = 2 * (CANARY_MAX + every);
        assert!(timeout(two_losses, watching.as_mut()).await.is_err());
        assert_eq!(log.take(), ["WARN a canary was lost"]);
        assert!(transport.unready().is_some_and(|why| why.contains("a canary was lost")));
        tokio::select! {
            _ = puller.next() => unreachable!("no job was pushed"),
            watched = timeout(3 * every, watching.as_mut()) => assert!(watched.is_err()),
        }
        assert_eq!(log.take(), ["INFO the canaries come back again"]);
        assert_eq!(transport.unready(), None);
    }
}
