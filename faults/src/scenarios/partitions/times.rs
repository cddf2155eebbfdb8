//! Figures of the rounds of one kind of partition.

use std::fmt;
use std::time::Duration;

use crate::recorder::Recorder;

/// Operations that have ended.
///
/// Errors of receiving handles count as failures, too.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    /// Operations of all loads that succeeded.
    acknowledged: usize,
    /// Errors of all kinds.
    pub(super) failed: usize,
}

impl Progress {
    /// Returns the operations that have ended so far.
    pub(super) fn of(recorder: &Recorder) -> Self {
        let acknowledged = recorder.summary().acknowledged;
        Self { acknowledged, failed: recorder.failures().values().sum() }
    }

    /// Returns those that have ended since then.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            acknowledged: self.acknowledged.saturating_sub(before.acknowledged),
            failed: self.failed.saturating_sub(before.failed),
        }
    }
}

/// Figures of the rounds of one kind of partition: the longest times, and operations by outcome.
#[derive(Clone, Copy, Default)]
pub(super) struct Times {
    rounds: usize,
    /// Operations that have ended while links were cut.
    progress: Progress,
    /// Rounds in which all traffic flowed before the cut ended.
    flowed: usize,
    /// Longest time from the end of a cut until all traffic flowed.
    recovered: Duration,
}

impl Times {
    /// Adds a round.
    ///
    /// `flowed` is true if all traffic flowed within the cut. `recovered` is the time from the end
    /// of the cut until all traffic flowed.
    pub(super) fn add(&mut self, progress: Progress, flowed: bool, recovered: Duration) {
        self.rounds += 1;
        self.progress.acknowledged += progress.acknowledged;
        self.progress.failed += progress.failed;
        self.flowed += usize::from(flowed);
        self.recovered = self.recovered.max(recovered);
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, progress, flowed, recovered } = self;
        let Progress { acknowledged, failed } = progress;
        write!(f, "{rounds} times, {acknowledged} acknowledged and {failed} errors meanwhile, ")?;
        write!(f, "all worked within {flowed} of the cuts, ")?;
        write!(f, "and within {:.1} s of each end", recovered.as_secs_f64())
    }
}
