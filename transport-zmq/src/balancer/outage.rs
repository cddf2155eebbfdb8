//! Log lines about the time without a peer.

use std::time::Duration;

use tokio::time::{Instant, timeout};

/// The time since a connection was opened or has lost its peer.
pub(super) struct Outage {
    since: Instant,
    /// Whether this side connects. Otherwise it is normal that no peer has connected yet.
    connects: bool,
    /// Whether a peer was connected before.
    is_loss: bool,
}

impl Outage {
    /// Interval of the warnings: 30 seconds.
    const LOG_INTERVAL: Duration = Duration::from_secs(30);

    pub(super) fn begin(connects: bool, is_loss: bool) -> Self {
        Self { since: Instant::now(), connects, is_loss }
    }

    /// Waits for a peer, and logs its absence every 30 seconds.
    pub(super) async fn last_until<T>(&self, endpoint: &str, up: impl Future<Output = T>) -> T {
        tokio::pin!(up);
        loop {
            match timeout(Self::LOG_INTERVAL, &mut up).await {
                Ok(up) => return up,
                Err(_) if self.connects => {
                    tracing::warn!(endpoint, outage_s = self.seconds(), "still not connected");
                }
                Err(_) => {
                    tracing::debug!(endpoint, outage_s = self.seconds(), "no peer has connected");
                }
            }
        }
    }

    /// Logs that a peer is connected.
    pub(super) fn end(&self, endpoint: &str) {
        match self.is_loss {
            true => tracing::info!(endpoint, outage_s = self.seconds(), "reconnected"),
            false => tracing::info!(endpoint, "connected"),
        }
    }

    fn seconds(&self) -> u64 {
        self.since.elapsed().as_secs()
    }
}
