//! What is soon enough, on a machine that may be busy with something else.

use std::time::Duration;

use tokio::time::Instant;

use crate::stage::PATIENCE;

/// The least of several times that were measured: a busy machine spoils some of them, and a broken
/// backend all.
pub(super) struct Best {
    bound: Duration,
    least: Option<Duration>,
    attempts: u32,
    since: Instant,
}

impl Best {
    pub(super) fn within(bound: Duration) -> Self {
        Self { bound, least: None, attempts: 0, since: Instant::now() }
    }

    /// Whether another one could make it better.
    pub(super) fn is_sought(&self) -> bool {
        !self.is_good() && self.attempts < ATTEMPTS_MAX && self.since.elapsed() < PATIENCE
    }

    /// Takes one more, if that attempt came to one.
    pub(super) fn add(&mut self, measured: Option<Duration>) {
        self.attempts += 1;
        self.least = self.least.into_iter().chain(measured).min();
    }

    pub(super) fn is_good(&self) -> bool {
        self.least.is_some_and(|least| least <= self.bound)
    }

    pub(super) fn least(&self) -> Duration {
        self.least.unwrap_or(Duration::MAX)
    }
}

const ATTEMPTS_MAX: u32 = 20;
