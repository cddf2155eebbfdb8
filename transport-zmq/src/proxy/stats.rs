//! Counts of the messages that a proxy passes on.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of the messages that a proxy has passed on or dropped since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyStats {
    /// Messages from the frontend to the backend: requests, jobs, events.
    pub to_backend: u64,
    /// Messages from the backend to the frontend: replies.
    pub to_frontend: u64,
    /// Messages that were dropped without notice to a peer: a message at the frontend that is no
    /// request; a message at the backend that is no reply; one with more frames than the limits
    /// allow; and one whose client timed out, disconnected or did not read.
    pub dropped: u64,
}

/// The counters behind [`ProxyStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) to_backend: AtomicU64,
    pub(super) to_frontend: AtomicU64,
    dropped: AtomicU64,
}

impl Counters {
    /// Counts and logs a message that is dropped.
    pub(super) fn count_dropped(&self, why: &'static str) {
        tracing::debug!(why, "dropped a message");
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts as of now.
    pub(super) fn stats(&self) -> ProxyStats {
        let [to_backend, to_frontend, dropped] =
            [&self.to_backend, &self.to_frontend, &self.dropped]
                .map(|count| count.load(Ordering::Relaxed));
        ProxyStats { to_backend, to_frontend, dropped }
    }
}
