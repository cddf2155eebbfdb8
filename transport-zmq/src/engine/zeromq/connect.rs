//! Connecting to an endpoint, once or again and again.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::link::Link;
use super::link_set::LinkSet;
use super::streams::PeerStream;
use super::zmtp::is_lasting;
use crate::endpoint::{Endpoint, RefusingPeers};
use crate::engine::endpoint_failure::connect_cause;

/// The shortest pause between two attempts to connect: 100 ms. It doubles with each failure.
pub(super) const RECONNECT_MIN: Duration = Duration::from_millis(100);
/// The longest pause between two attempts to connect: 5 seconds.
pub(super) const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// Connects to an endpoint, again after each failure and each lost connection, until the set is
/// closed.
pub(super) async fn keep_connected(
    set: Arc<LinkSet>,
    endpoint: Endpoint,
    refusals: RefusingPeers,
    patience: Duration,
    failing: watch::Sender<bool>,
) {
    let mut pause = RECONNECT_MIN;
    while !set.is_closed() {
        match connect(&set, &endpoint, &refusals, patience).await {
            Ok(link) => {
                link.wait_end().await;
                pause = RECONNECT_MIN;
            }
            Err(reason) => {
                tracing::debug!(%endpoint, reason, "cannot connect");
                failing.send_replace(true);
                sleep(pause).await;
                pause = (pause * 2).min(RECONNECT_MAX);
                continue;
            }
        }
        failing.send_replace(true);
        sleep(RECONNECT_MIN).await;
    }
}

/// Connects to an endpoint once, and returns the open link. Records a refusal, or its end.
///
/// # Errors
///
/// The cause, for people.
pub(super) async fn connect(
    set: &Arc<LinkSet>,
    endpoint: &Endpoint,
    refusals: &RefusingPeers,
    patience: Duration,
) -> Result<Arc<Link>, String> {
    let name = endpoint.to_string();
    let connecting = timeout(patience, PeerStream::connect(endpoint)).await;
    let stream =
        connecting.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())).map_err(|error| {
            refusals.withdraw(&name);
            connect_cause(endpoint, &error)
        })?;
    let link = set.start(stream, &name).map_err(|error| error.to_string())?;
    let mut guard = LinkGuard(Some(link.clone()));
    link.wait_open().await.map_err(|reason| {
        match is_lasting(&reason) {
            true => refusals.refuse(&name, &reason),
            false => refusals.withdraw(&name),
        }
        format!("the handshake failed: {reason}")
    })?;
    guard.0 = None;
    refusals.accept(&name);
    Ok(link)
}

/// The guard of a handshake. Cuts the link if the attempt to connect is given up.
struct LinkGuard(Option<Arc<Link>>);

impl Drop for LinkGuard {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.cut("the attempt to connect was given up");
        }
    }
}
