//! Book-keeping of operations under disturbance: what was promised, what was seen, and where the
//! two disagree.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use polywire_core::CallError;
use serde::Serialize;

/// The book of a load: each operation has a number, ends in one of three ways, and may be seen to
/// take effect.
///
/// An operation whose end is never noted counts as indeterminate: it may have taken effect or not.
///
/// ```
/// use polywire_conformance::{End, Tally};
///
/// let tally = Tally::new();
/// let (kept, lost) = (tally.attempt(), tally.attempt());
/// tally.end(kept, End::Acknowledged);
/// tally.end(lost, End::Acknowledged);
/// tally.effect(kept);
/// assert_eq!(tally.sum().lost, 1);
/// ```
#[derive(Debug, Default)]
pub struct Tally(Mutex<Book>);

/// How an operation ended, as far as its caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum End {
    /// It was done, or taken over by somebody who will.
    Acknowledged,
    /// It was not done and never will be.
    Failed,
    /// Nobody knows.
    Indeterminate,
}

/// What a [`Tally`] comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Sum {
    /// Operations that were begun.
    pub attempted: usize,
    /// Those that ended as done.
    pub acknowledged: usize,
    /// Those that ended as not done, for sure.
    pub failed: usize,
    /// Those of which nobody knows.
    pub indeterminate: usize,
    /// Acknowledged operations without an effect.
    pub lost: usize,
    /// Effects beyond the first of their operation.
    pub duplicated: usize,
    /// Effects of operations that were never begun, or had failed for sure.
    pub unexpected: usize,
}

/// Bounded by the load of the case that keeps it.
#[derive(Debug, Default)]
struct Book {
    /// By their numbers. A long load has many, so each is small.
    operations: Vec<Operation>,
    strays: usize,
}

#[derive(Debug)]
struct Operation {
    end: End,
    effects: u32,
}

impl Tally {
    /// An empty book.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins an operation, and gives it its number.
    pub fn attempt(&self) -> u64 {
        let mut book = self.book();
        let id = book.operations.len() as u64;
        book.operations.push(Operation { end: End::Indeterminate, effects: 0 });
        id
    }

    /// Notes how an operation ended.
    pub fn end(&self, id: u64, end: End) {
        if let Some(operation) = at(&mut self.book().operations, id) {
            operation.end = end;
        }
    }

    /// Notes that an operation was seen to take effect.
    pub fn effect(&self, id: u64) {
        let book = &mut *self.book();
        match at(&mut book.operations, id) {
            Some(operation) => operation.effects += 1,
            None => book.strays += 1,
        }
    }

    /// What it comes to by now.
    #[must_use]
    pub fn sum(&self) -> Sum {
        let book = self.book();
        let mut sum = Sum { unexpected: book.strays, ..Sum::default() };
        for operation in &book.operations {
            sum.add(operation);
        }
        sum
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn at(operations: &mut [Operation], id: u64) -> Option<&mut Operation> {
    operations.get_mut(usize::try_from(id).ok()?)
}

impl End {
    /// How a call ended: a failure counts as one for sure only if it is
    /// [unsent](polywire_core::Error::is_unsent).
    pub fn of<T>(outcome: &Result<T, CallError>) -> Self {
        match outcome {
            Ok(_) => Self::Acknowledged,
            Err(CallError::Failed(error)) if error.is_unsent() => Self::Failed,
            Err(_) => Self::Indeterminate,
        }
    }
}

impl Sum {
    fn add(&mut self, operation: &Operation) {
        self.attempted += 1;
        let effects = operation.effects as usize;
        self.duplicated += effects.saturating_sub(1);
        match operation.end {
            End::Acknowledged => {
                self.acknowledged += 1;
                self.lost += usize::from(effects == 0);
            }
            End::Failed => {
                self.failed += 1;
                self.unexpected += effects;
            }
            End::Indeterminate => self.indeterminate += 1,
        }
    }
}

impl fmt::Display for Sum {
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

#[cfg(test)]
mod tests {
    use polywire_core::{Error, ErrorKind};

    use super::*;

    #[test]
    fn what_disagrees_is_counted() {
        let tally = Tally::new();
        let ends =
            [End::Acknowledged, End::Acknowledged, End::Failed, End::Failed, End::Indeterminate];
        let [twice, lost, failed, undead, unknown] = ends.map(|end| {
            let id = tally.attempt();
            tally.end(id, end);
            id
        });
        for id in [twice, twice, undead, unknown, 99] {
            tally.effect(id);
        }
        assert!(lost < failed, "numbers are counted up");
        let line = "5 attempted: 2 acknowledged, 2 failed, 1 indeterminate; 1 lost, 1 duplicated, 2 unexpected";
        assert_eq!(tally.sum().to_string(), line);
    }

    #[test]
    fn only_what_was_never_sent_failed_for_sure() {
        let error = Error::new(ErrorKind::Unroutable, "nobody");
        assert_eq!(End::of::<()>(&Ok(())), End::Acknowledged);
        assert_eq!(End::of::<()>(&Err(error.clone().into())), End::Indeterminate);
        assert_eq!(End::of::<()>(&Err(error.unsent().into())), End::Failed);
        assert_eq!(End::of::<()>(&Err(CallError::deadline_exceeded())), End::Indeterminate);
    }
}
