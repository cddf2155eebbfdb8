//! The book of a scenario: its operations, how they failed, what else was measured.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use polywire_conformance::{OperationLog, OperationOutcome, Summary};
use polywire_core::{CallError, Error};
use tokio::time::{Instant, sleep};

use crate::patience::{PATIENCE, until};

/// What is written down while a scenario runs.
#[derive(Default)]
pub(crate) struct Book {
    tally: OperationLog,
    ended: AtomicUsize,
    wrong: AtomicUsize,
    over: AtomicBool,
    /// Kinds of failures, and how many there were.
    failures: Mutex<BTreeMap<String, usize>>,
    figures: Mutex<BTreeMap<&'static str, String>>,
    effects: Mutex<Effects>,
    /// Whether it keeps who did what, which grows with the load.
    forgets: AtomicBool,
}

/// Who did what. Bounded by the load.
#[derive(Default)]
struct Effects {
    seen: HashSet<(u32, u64)>,
    repeated: BTreeMap<u32, usize>,
}

impl Book {
    /// From now on, keeps no more of an operation than its end and how often it was seen.
    pub(crate) fn forget(&self) {
        self.forgets.store(true, Ordering::Relaxed);
    }

    pub(crate) fn attempt(&self) -> u64 {
        self.tally.attempt()
    }

    /// Notes how a call ended, and whether its result was the right one.
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

    /// Notes how a push or a publish ended.
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

    /// Notes a failure of which the operation's end does not tell, since it was tried again.
    pub(crate) fn failed(&self, kind: String) {
        *lock(&self.failures).entry(kind).or_default() += 1;
    }

    pub(crate) fn end(&self, id: u64, end: OperationOutcome) {
        self.tally.finish(id, end);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that somebody did what the operation asks for.
    pub(crate) fn effect(&self, by: u32, id: u64) {
        self.tally.effect(id);
        if self.forgets.load(Ordering::Relaxed) {
            return;
        }
        let effects = &mut *lock(&self.effects);
        if !effects.seen.insert((by, id)) {
            *effects.repeated.entry(by).or_default() += 1;
        }
    }

    /// How many operations have ended.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// Says that no more operations are to be begun.
    pub(crate) fn finish(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Notes a figure, to be read by people.
    pub(crate) fn figure(&self, name: &'static str, value: impl Display) {
        lock(&self.figures).insert(name, value.to_string());
    }

    pub(crate) fn sum(&self) -> Summary {
        self.tally.summary()
    }

    pub(crate) fn failures(&self) -> BTreeMap<String, usize> {
        lock(&self.failures).clone()
    }

    pub(crate) fn figures(&self) -> BTreeMap<&'static str, String> {
        lock(&self.figures).clone()
    }

    /// How often somebody did again what it had done already.
    pub(crate) fn repeated(&self) -> usize {
        lock(&self.effects).repeated.values().sum()
    }

    /// How often this one did so.
    pub(crate) fn repeated_by(&self, by: u32) -> usize {
        lock(&self.effects).repeated.get(&by).copied().unwrap_or_default()
    }

    pub(crate) async fn until_ended(&self, operations: usize) -> Result<()> {
        until(&format!("{operations} operations have ended"), || self.ended() >= operations).await
    }

    /// Waits until all that was acknowledged has had its effect.
    ///
    /// # Errors
    ///
    /// If it has not; if something had an effect that had failed for sure; if a result was wrong.
    pub(crate) async fn nothing_is_lost(&self) -> Result<()> {
        let start = Instant::now();
        while self.sum().lost > 0 && start.elapsed() < PATIENCE {
            sleep(Duration::from_millis(20)).await;
        }
        let sum = self.sum();
        ensure!(
            sum.lost == 0 && sum.unexpected == 0,
            "what was promised and what was seen disagree: {sum}"
        );
        let wrong = self.wrong.load(Ordering::Relaxed);
        ensure!(wrong == 0, "{wrong} results were wrong");
        Ok(())
    }
}

pub(crate) fn kind_of(error: &Error) -> String {
    let unsent = if error.is_unsent() { ", unsent" } else { "" };
    format!("{:?}{unsent}", error.kind())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
