//! The best of several measurements, on a machine that may be busy with something else.

use std::time::Duration;

use tokio::time::Instant;

use crate::wait::PATIENCE;

/// The least of several measured durations. A busy machine spoils some of them; a broken backend
/// spoils all.
///
/// The search ends with a measurement within the bound, after 20 attempts, or after 30 s.
pub(super) struct BestDuration {
    bound: Duration,
    least: Option<Duration>,
    attempts: u32,
    since: Instant,
}

/// The most measurements.
const ATTEMPTS_MAX: u32 = 20;

impl BestDuration {
    /// A search for a duration of `bound` at most.
    pub(super) fn within(bound: Duration) -> Self {
        Self { bound, least: None, attempts: 0, since: Instant::now() }
    }

    /// Returns true while another measurement could reach the bound.
    pub(super) fn is_sought(&self) -> bool {
        !self.is_good() && self.attempts < ATTEMPTS_MAX && self.since.elapsed() < PATIENCE
    }

    /// Adds a measurement. An attempt without a result counts as an attempt, too.
    pub(super) fn add(&mut self, measured: Option<Duration>) {
        self.attempts += 1;
        self.least = self.least.into_iter().chain(measured).min();
    }

    /// Returns true if a measurement is within the bound.
    pub(super) fn is_good(&self) -> bool {
        self.least.is_some_and(|least| least <= self.bound)
    }

    /// The least measurement so far.
    ///
    /// The longest duration there is, if nothing was measured.
    pub(super) fn least(&self) -> Duration {
        self.least.unwrap_or(Duration::MAX)
    }
}
