//! A log of operations under disturbance: promised outcomes, seen effects, and where they disagree.

mod outcome;
mod summary;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use self::outcome::OperationOutcome;
pub use self::summary::Summary;

/// A log of the operations of a load. Each operation has a number, ends with one of three outcomes,
/// and may be seen to take effect.
///
/// An operation whose outcome is never recorded counts as indeterminate: it may have taken effect
/// or not.
///
/// ```
/// use polywire_conformance::{OperationLog, OperationOutcome};
///
/// let log = OperationLog::new();
/// let (kept, lost) = (log.attempt(), log.attempt());
/// log.finish(kept, OperationOutcome::Acknowledged);
/// log.finish(lost, OperationOutcome::Acknowledged);
/// log.effect(kept);
/// assert_eq!(log.summary().lost, 1);
/// ```
#[derive(Debug, Default)]
pub struct OperationLog(Mutex<Records>);

/// The records of a load, which bounds them.
#[derive(Debug, Default)]
struct Records {
    /// By operation number. A long load has many records, so each is small.
    operations: Vec<Record>,
    /// Effects of operations that were never begun.
    strays: usize,
}

/// The record of one operation.
///
/// An operation begins as indeterminate, so one without an outcome needs no further step.
#[derive(Debug)]
struct Record {
    outcome: OperationOutcome,
    effects: u32,
}

impl OperationLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins an operation, and returns its number. Numbers count up from 0.
    pub fn attempt(&self) -> u64 {
        let mut records = self.records();
        let id = records.operations.len() as u64;
        let outcome = OperationOutcome::Indeterminate;
        records.operations.push(Record { outcome, effects: 0 });
        id
    }

    /// Records the outcome of an operation. Ignores numbers that were never given.
    ///
    /// A later outcome replaces an earlier one.
    pub fn finish(&self, id: u64, outcome: OperationOutcome) {
        if let Some(record) = at(&mut self.records().operations, id) {
            record.outcome = outcome;
        }
    }

    /// Records that an operation was seen to take effect. A number that was never given counts as
    /// [unexpected](Summary::unexpected).
    pub fn effect(&self, id: u64) {
        let records = &mut *self.records();
        match at(&mut records.operations, id) {
            Some(record) => record.effects += 1,
            None => records.strays += 1,
        }
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let records = self.records();
        let mut summary = Summary { unexpected: records.strays, ..Summary::default() };
        for Record { outcome, effects } in &records.operations {
            summary.add(*outcome, *effects as usize);
        }
        summary
    }

    /// Locks the records. No code panics while it holds the lock.
    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the record of an operation; `None` for a number that was never given.
fn at(operations: &mut [Record], id: u64) -> Option<&mut Record> {
    operations.get_mut(usize::try_from(id).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disagreements_are_counted() {
        let log = OperationLog::new();
        let outcomes = [
            OperationOutcome::Acknowledged,
            OperationOutcome::Acknowledged,
            OperationOutcome::Failed,
            OperationOutcome::Failed,
            OperationOutcome::Indeterminate,
        ];
        let [twice, lost, failed, undead, unknown] = outcomes.map(|outcome| {
            let id = log.attempt();
            log.finish(id, outcome);
            id
        });
        for id in [twice, twice, undead, unknown, 99] {
            log.effect(id);
        }
        assert!(lost < failed, "numbers are counted up");
        let line = "5 attempted: 2 acknowledged, 2 failed, 1 indeterminate; 1 lost, 1 duplicated, 2 unexpected";
        assert_eq!(log.summary().to_string(), line);
    }
}
