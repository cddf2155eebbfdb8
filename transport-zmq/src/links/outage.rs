//! The time for which a link has no peer, and what is told of it.

use std::time::Duration;

use tokio::time::{Instant, timeout};

/// Since a link was opened, or has lost its peer.
pub(super) struct Outage {
    since: Instant,
    /// Whether it is up to us to find one. Otherwise it is nothing unusual that nobody has come
    /// yet.
    is_dialling: bool,
    /// Whether somebody was there before.
    is_loss: bool,
}

impl Outage {
    /// Who only looks at warnings hears of it as often as this.
    const TOLD_EVERY: Duration = Duration::from_secs(30);

    pub(super) fn begin(is_dialling: bool, is_loss: bool) -> Self {
        Self { since: Instant::now(), is_dialling, is_loss }
    }

    /// Waits for a peer, and tells now and then that there is none.
    pub(super) async fn last_until<T>(&self, endpoint: &str, up: impl Future<Output = T>) -> T {
        tokio::pin!(up);
        loop {
            match timeout(Self::TOLD_EVERY, &mut up).await {
                Ok(up) => return up,
                Err(_) if self.is_dialling => {
                    tracing::warn!(endpoint, outage_s = self.seconds(), "still not connected");
                }
                Err(_) => {
                    tracing::debug!(endpoint, outage_s = self.seconds(), "nobody has dialled yet")
                }
            }
        }
    }

    /// Tells that somebody is there.
    pub(super) fn end(&self, endpoint: &str) {
        match self.is_loss {
            true => tracing::info!(endpoint, outage_s = self.seconds(), "connected again"),
            false => tracing::info!(endpoint, "connected"),
        }
    }

    fn seconds(&self) -> u64 {
        self.since.elapsed().as_secs()
    }
}
