//! The record of a scenario: operations, failures by kind, and measured figures.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use polywire_conformance::{OperationLog, OperationOutcome, Summary};
use polywire_core::{CallError, Error};
use tokio::time::{Instant, sleep};

use crate::wait::{WAIT_MAX, until};

/// Records the operations of a scenario while the scenario runs.
///
/// All tasks of a scenario share the recorder. Each part is atomic or has a lock of its own, and no
/// lock is held across an await. So a summary during the load is a snapshot of each part, and not
/// of all.
#[derive(Default)]
pub(crate) struct Recorder {
    operations: OperationLog,
    /// Operations with a recorded end.
    ended: AtomicUsize,
    /// Successful calls whose result was not the expected one.
    wrong: AtomicUsize,
    /// Set once no operation may start any more.
    stopped: AtomicBool,
    /// Failures by kind.
    failures: Mutex<BTreeMap<String, usize>>,
    /// Measured values by name.
    figures: Mutex<BTreeMap<&'static str, String>>,
    effects: Mutex<Effects>,
    /// True if effects by process are not kept: they grow with the load.
    totals_only: AtomicBool,
}

/// Effects by process. Bounded by the load.
#[derive(Default)]
struct Effects {
    /// Process and operation of each effect.
    seen: HashSet<(u32, u64)>,
    /// The number of effects of each process.
    counts: BTreeMap<u32, usize>,
    /// Effects beyond the first of an operation, by process.
    repeated: BTreeMap<u32, usize>,
}

impl Recorder {
    /// Keeps only the end of each operation and the count of its effects from now on.
    ///
    /// The methods about single processes have no answers then. The count of repeated effects
    /// stays, and no process has a new effect.
    pub(crate) fn keep_totals_only(&self) {
        self.totals_only.store(true, Ordering::Relaxed);
    }

    /// Records the start of an operation, and returns its number.
    ///
    /// Numbers count from 0.
    pub(crate) fn attempt(&self) -> u64 {
        self.operations.attempt()
    }

    /// Records the end of a call. A result other than `right` counts as wrong.
    ///
    /// A call is acknowledged even with a wrong result, which fails the scenario in the end.
    pub(crate) fn call<T: PartialEq>(&self, id: u64, outcome: &Result<T, CallError>, right: &T) {
        if outcome.as_ref().is_ok_and(|result| result != right) {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
        if let Err(error) = outcome {
            self.failed(match error {
                CallError::DeadlineExceeded(_) => "deadline".into(),
                CallError::Fault(fault) => format!("fault {:?}", fault.code),
                CallError::Failed(error) => kind_of(error),
                other => other.to_string(),
            });
        }
        self.end(id, OperationOutcome::of(outcome));
    }

    /// Records the end of a push or a publish.
    pub(crate) fn send(&self, id: u64, outcome: &Result<(), Error>) {
        if let Err(error) = outcome {
            self.failed(kind_of(error));
        }
        self.end(
            id,
            match outcome {
                Ok(()) => OperationOutcome::Acknowledged,
                Err(error) if error.is_unsent() => OperationOutcome::Failed,
                Err(_) => OperationOutcome::Indeterminate,
            },
        );
    }

    /// Records a failure by kind. The operation may still succeed in another attempt.
    pub(crate) fn failed(&self, kind: String) {
        *lock(&self.failures).entry(kind).or_default() += 1;
    }

    /// Records the end of an operation.
    ///
    /// A second end of an operation replaces its outcome, and counts once more as ended.
    pub(crate) fn end(&self, id: u64, end: OperationOutcome) {
        self.operations.finish(id, end);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that the process `by` carried out an operation.
    pub(crate) fn effect(&self, by: u32, id: u64) {
        self.operations.effect(id);
        if self.totals_only.load(Ordering::Relaxed) {
            return;
        }
        let effects = &mut *lock(&self.effects);
        *effects.counts.entry(by).or_default() += 1;
        if !effects.seen.insert((by, id)) {
            *effects.repeated.entry(by).or_default() += 1;
        }
    }

    /// Returns the number of operations that have ended.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// Stops the load: no operation starts from now on.
    ///
    /// Operations that run are not ended. The stop is final.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Returns true once the load is stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Records a figure for the report.
    ///
    /// A second value of a name replaces the first.
    pub(crate) fn figure(&self, name: &'static str, value: impl Display) {
        lock(&self.figures).insert(name, value.to_string());
    }

    /// Returns the operations by outcome, as counted so far.
    ///
    /// The time grows with the number of operations.
    pub(crate) fn summary(&self) -> Summary {
        self.operations.summary()
    }

    /// Returns the failures by kind.
    pub(crate) fn failures(&self) -> BTreeMap<String, usize> {
        lock(&self.failures).clone()
    }

    /// Returns the measured figures by name.
    pub(crate) fn figures(&self) -> BTreeMap<&'static str, String> {
        lock(&self.figures).clone()
    }

    /// Returns the number of effects beyond the first of an operation at one process.
    pub(crate) fn repeated(&self) -> usize {
        lock(&self.effects).repeated.values().sum()
    }

    /// Returns a process that carried out an operation.
    ///
    /// If there are several, any of them is the answer.
    pub(crate) fn process_of(&self, operation: u64) -> Option<u32> {
        let effects = lock(&self.effects);
        effects.seen.iter().find(|(_, id)| *id == operation).map(|(by, _)| *by)
    }

    /// Returns the number of effects beyond the first of an operation at the process `by`.
    pub(crate) fn repeated_by(&self, by: u32) -> usize {
        lock(&self.effects).repeated.get(&by).copied().unwrap_or_default()
    }

    /// Waits until so many operations have ended.
    ///
    /// # Errors
    ///
    /// If that takes longer than [`WAIT_MAX`].
    pub(crate) async fn until_ended(&self, operations: usize) -> Result<()> {
        until(&format!("{operations} operations have ended"), || self.ended() >= operations).await
    }

    /// Waits until a process has an effect that it did not have before.
    ///
    /// # Errors
    ///
    /// If that takes longer than [`WAIT_MAX`].
    pub(crate) async fn until_next_effect_of(&self, by: u32) -> Result<()> {
        let count = || lock(&self.effects).counts.get(&by).copied();
        let before = count();
        until(&format!("process {by} begins an operation"), || count() > before).await
    }

    /// Waits until every acknowledged operation has had its effect.
    ///
    /// The wait has a bound of two minutes. An operation whose outcome is unknown may have an
    /// effect or not. Duplicates are not checked here.
    ///
    /// # Errors
    ///
    /// If an effect is missing, if an operation that certainly failed had an effect, or if a result
    /// was wrong.
    pub(crate) async fn check_nothing_lost(&self) -> Result<()> {
        let start = Instant::now();
        while self.summary().lost > 0 && start.elapsed() < WAIT_MAX {
            sleep(Duration::from_millis(20)).await;
        }
        let summary = self.summary();
        ensure!(
            summary.lost == 0 && summary.unexpected == 0,
            "acknowledged operations and their effects disagree: {summary}"
        );
        let wrong = self.wrong.load(Ordering::Relaxed);
        ensure!(wrong == 0, "{wrong} results were wrong");
        Ok(())
    }
}

/// Returns the kind of an error as the report shows it.
///
/// An error that is certainly unsent says so behind its kind.
pub(crate) fn kind_of(error: &Error) -> String {
    let unsent = if error.is_unsent() { ", unsent" } else { "" };
    format!("{:?}{unsent}", error.kind())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
