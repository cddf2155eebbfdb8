//! Log lines about the time without a peer: warnings while it lasts, and one line at its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// The time since a connection was opened or has lost its peer.
///
/// Events and levels:
///
/// - `connected` (info) for the first peer, `reconnected` (info, with `outage_s`) for each later
///   one.
///
/// - `still not connected` (warn, with `outage_s` and `reason`) every 30 seconds, if this side
///   connects.
///
/// - `no peer has connected` (debug, with `outage_s`) every 30 seconds, if this side only listens.
pub(super) struct Outage {
    /// Begin of the outage.
    since: Instant,
    /// Set if this side connects. Otherwise a long time without a peer is normal.
    connects: bool,
    /// Set if a peer was connected before.
    is_loss: bool,
    /// Set unless the loss was throttled, so that its end needs no line either.
    is_logged: AtomicBool,
}

impl Outage {
    /// Interval of the warnings: 30 seconds.
    const LOG_INTERVAL: Duration = Duration::from_secs(30);

    /// Begins the time before the first peer.
    pub(super) fn before_first(connects: bool) -> Self {
        Self { since: Instant::now(), connects, is_loss: false, is_logged: AtomicBool::new(true) }
    }

    /// Begins an outage with the loss of a peer. Its end is logged if the loss was, or if it lasts.
    pub(super) fn after_loss(connects: bool, is_logged: bool) -> Self {
        let is_logged = AtomicBool::new(is_logged);
        Self { since: Instant::now(), connects, is_loss: true, is_logged }
    }

    /// Waits for a peer with the future `up`, and logs its absence every 30 seconds, with the
    /// reason that `failure` returns. Returns the output of `up`. Dropping the future drops `up`.
    pub(super) async fn last_until<T>(
        &self,
        endpoint: &str,
        up: impl Future<Output = T>,
        failure: impl Fn() -> Option<String>,
    ) -> T {
        tokio::pin!(up);
        loop {
            match timeout(Self::LOG_INTERVAL, &mut up).await {
                Ok(up) => return up,
                Err(_) if self.connects => {
                    self.is_logged.store(true, Ordering::Relaxed);
                    let reason = failure().unwrap_or_default();
                    tracing::warn!(
                        endpoint,
                        outage_s = self.seconds(),
                        reason,
                        "still not connected"
                    );
                }
                Err(_) => {
                    tracing::debug!(endpoint, outage_s = self.seconds(), "no peer has connected");
                }
            }
        }
    }

    /// Logs that a peer is connected, with the length of the outage in seconds if it was a loss.
    pub(super) fn end(&self, endpoint: &str) {
        if !self.is_logged.load(Ordering::Relaxed) {
            return;
        }
        match self.is_loss {
            true => tracing::info!(endpoint, outage_s = self.seconds(), "reconnected"),
            false => tracing::info!(endpoint, "connected"),
        }
    }

    /// Returns the whole seconds since the outage began.
    fn seconds(&self) -> u64 {
        self.since.elapsed().as_secs()
    }
}
