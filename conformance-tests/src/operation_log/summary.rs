//! The counts of an operation log.

use std::fmt;

use serde::Serialize;

use super::outcome::OperationOutcome;

/// The counts of an [`OperationLog`](crate::OperationLog).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Operations that were begun.
    pub attempted: usize,
    /// Operations that ended as done.
    pub acknowledged: usize,
    /// Operations that ended as not done, for sure.
    pub failed: usize,
    /// Operations with an unknown outcome.
    pub indeterminate: usize,
    /// Acknowledged operations without an effect.
    pub lost: usize,
    /// Effects beyond the first of their operation.
    ///
    /// For instance, an operation with three effects adds 2. Operations with any outcome count.
    pub duplicated: usize,
    /// Effects of operations that were never begun, or had failed for sure.
    pub unexpected: usize,
}

impl Summary {
    /// Counts an operation with this outcome and this many effects.
    ///
    /// An indeterminate operation may have an effect or none: only its duplicates count.
    pub(super) fn add(&mut self, outcome: OperationOutcome, effects: usize) {
        self.attempted += 1;
        self.duplicated += effects.saturating_sub(1);
        match outcome {
            OperationOutcome::Acknowledged => {
                self.acknowledged += 1;
                self.lost += usize::from(effects == 0);
            }
            OperationOutcome::Failed => {
                self.failed += 1;
                self.unexpected += effects;
            }
            OperationOutcome::Indeterminate => self.indeterminate += 1,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempted, acknowledged, failed, indeterminate, lost, duplicated, unexpected } =
            self;
        write!(
            f,
            "{attempted} attempted: {acknowledged} acknowledged, {failed} failed, {indeterminate} indeterminate; \
             {lost} lost, {duplicated} duplicated, {unexpected} unexpected"
        )
    }
}
