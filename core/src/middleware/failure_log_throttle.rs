//! The bound on log lines of failures of one kind.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::message::Address;

/// Counts failures by kind, and says which of them are logged: the first [`LINES_MAX`] of a kind in
/// each [`PERIOD`]. The next line of the kind stands for those that were left out.
#[derive(Debug, Default)]
pub(crate) struct FailureLogThrottle(Mutex<Kinds>);

/// The properties that failures of a kind share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FailureKind {
    /// The method or the topic.
    pub(crate) name: Option<Address>,
    /// The code of the fault or the kind of the error.
    pub(crate) error: String,
    /// The kind of the fault, as the peer named it.
    pub(crate) fault: Option<String>,
}

#[derive(Debug, Default)]
struct Kinds {
    by_kind: FxHashMap<FailureKind, Recent>,
    /// All kinds beyond [`KINDS_MAX`].
    others: Recent,
}

/// The recent failures of a kind.
#[derive(Debug, Default)]
struct Recent {
    /// The begin of the period, if one has begun.
    began: Option<Instant>,
    /// Lines in this period.
    lines: u32,
    /// Failures since the last line.
    left_out: u64,
}

/// Lines of a kind in a period: ten.
const LINES_MAX: u32 = 10;
/// The period: ten seconds.
const PERIOD: Duration = Duration::from_secs(10);
/// Kinds with a count of their own: 256.
const KINDS_MAX: usize = 256;

impl FailureLogThrottle {
    /// Counts a failure. Returns the number of failures that its line stands for, or `None` if
    /// there is to be no line.
    pub(crate) fn note(&self, kind: FailureKind) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.by_kind.len() >= KINDS_MAX && !kinds.by_kind.contains_key(&kind) {
            kinds.by_kind.retain(|_, recent| recent.is_in_period() || recent.left_out > 0);
            if kinds.by_kind.len() >= KINDS_MAX {
                return kinds.others.note();
            }
        }
        kinds.by_kind.entry(kind).or_default().note()
    }
}

impl Recent {
    fn is_in_period(&self) -> bool {
        self.began.is_some_and(|began| began.elapsed() < PERIOD)
    }

    fn note(&mut self) -> Option<u64> {
        if !self.is_in_period() {
            (self.began, self.lines) = (Some(Instant::now()), 0);
        }
        if self.lines == LINES_MAX {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(1 + std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: &str) -> FailureKind {
        FailureKind { name: None, error: error.to_owned(), fault: None }
    }

    #[tokio::test(start_paused = true)]
    async fn ten_lines_of_each_kind_and_then_a_count() {
        let throttle = FailureLogThrottle::default();
        let lines = |kind: &str| (0..1_000).filter_map(|_| throttle.note(of(kind))).sum::<u64>();
        assert_eq!((lines("Denied"), lines("Closed")), (10, 10));
        tokio::time::advance(PERIOD).await;
        assert_eq!(throttle.note(of("Denied")), Some(991));
        assert_eq!(throttle.note(of("Denied")), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn kinds_are_bounded() {
        let throttle = FailureLogThrottle::default();
        let logged = (0..2 * KINDS_MAX).filter(|n| throttle.note(of(&n.to_string())).is_some());
        assert_eq!(logged.count(), KINDS_MAX + LINES_MAX as usize);
        let kinds = throttle.0.lock().unwrap_or_else(PoisonError::into_inner).by_kind.len();
        assert_eq!(kinds, KINDS_MAX);
        tokio::time::advance(PERIOD).await;
        assert_eq!(throttle.note(of("new")), Some(1));
    }
}
