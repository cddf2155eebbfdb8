//! The bound on the subscriptions of a subscriber, as its publishers state it. No I/O.

use std::sync::{Mutex, MutexGuard};

use polywire_core::transport::LogThrottle;
use polywire_core::{Error, ErrorKind};

use crate::lock::lock;

/// Subscriptions of a subscriber before a publisher has stated its bound: 1,000. A publisher with a
/// smaller bound tolerates them, and states the bound.
pub(super) const UNTOLD_MAX: usize = 1000;

/// The bound on the subscriptions of a subscriber, beside their number.
///
/// A publisher may state a bound that is smaller than this number. The program gets one error then:
/// from a change of its own, or among its events. Any task may read the bound. Locked for a moment,
/// never across an await.
#[derive(Debug)]
pub(super) struct AcceptedSubscriptions {
    state: Mutex<State>,
    /// Throttle for log lines of publishers that accept fewer.
    refusals: LogThrottle,
}

#[derive(Debug)]
struct State {
    /// The subscriptions that every publisher accepts, as far as they have stated.
    max: usize,
    /// The number of subscribed prefixes.
    held: usize,
    /// The smallest bound below `held` that the program knows of, or `usize::MAX`.
    known: usize,
    /// Changes and canaries under way. Each may still take its prefix back.
    changes: usize,
}

impl AcceptedSubscriptions {
    /// Creates the bound of a subscriber without subscriptions and publishers.
    pub(super) fn new() -> Self {
        let state = State { max: UNTOLD_MAX, held: 0, known: usize::MAX, changes: 0 };
        Self { state: Mutex::new(state), refusals: LogThrottle::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Returns the number of subscriptions that every publisher accepts.
    pub(super) fn max(&self) -> usize {
        self.state().max
    }

    /// Records the number of subscribed prefixes.
    pub(super) fn set_held(&self, held: usize) {
        self.state().held = held;
    }

    /// Records the bound of one publisher, of which others may accept fewer.
    pub(super) fn lower(&self, max: usize) {
        let mut state = self.state();
        state.max = state.max.min(max);
    }

    /// Records the smallest bound of all connected publishers. If they accept all subscriptions,
    /// the next publisher that does not leads to an error again.
    pub(super) fn set(&self, max: usize) {
        let mut state = self.state();
        state.max = max;
        if state.held <= max {
            state.known = usize::MAX;
        }
    }

    /// Records that no publisher is connected, so that none bounds the subscriptions. A larger
    /// bound of one that has left stays.
    pub(super) fn forget_publishers(&self) {
        let mut state = self.state();
        state.max = state.max.max(UNTOLD_MAX).max(state.held);
        state.known = usize::MAX;
    }

    /// Records that a caller gets the error of the current bound.
    pub(super) fn note_known(&self) {
        let mut state = self.state();
        state.known = state.known.min(state.max);
    }

    /// Begins a change or a canary.
    pub(super) fn begin_change(&self) {
        self.state().changes += 1;
    }

    /// Ends a change or a canary. Returns an error as [`excess`](Self::excess) does.
    pub(super) fn end_change(&self) -> Option<Error> {
        let mut state = self.state();
        state.changes = state.changes.saturating_sub(1);
        drop(state);
        self.excess()
    }

    /// Returns an error, and logs it, if the publishers accept fewer subscriptions than there are,
    /// and the program does not know. `None` while a change is under way, whose end returns the
    /// error.
    ///
    /// A publisher that connects again has no second error.
    pub(super) fn excess(&self) -> Option<Error> {
        let (held, max) = {
            let mut state = self.state();
            let State { max, held, known, changes } = *state;
            if changes > 0 || held <= max || known <= max {
                return None;
            }
            state.known = max;
            (held, max)
        };
        if let Some(count) = self.refusals.note() {
            tracing::warn!(
                held,
                subscriptions_max = max,
                count,
                "a publisher accepts fewer filters"
            );
        }
        let error = Error::new(
            ErrorKind::Overloaded,
            "cannot receive all events: a publisher that has connected accepts fewer subscriptions",
        );
        Some(error.with("bound", "subscriptions_max").with("max", max).with("held", held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_bound_is_reported_once_and_after_the_changes_under_way() {
        let accepted = AcceptedSubscriptions::new();
        accepted.set_held(60);
        assert!(accepted.excess().is_none());
        accepted.begin_change();
        accepted.begin_change();
        accepted.lower(50);
        assert!(accepted.excess().is_none() && accepted.end_change().is_none());
        let error = accepted.end_change().expect("60 are more than 50");
        assert_eq!((error.detail("max"), error.detail("held")), (Some("50"), Some("60")));
        accepted.lower(50);
        assert!(accepted.excess().is_none(), "a publisher that connects again");
        accepted.lower(40);
        accepted.note_known();
        assert!(accepted.excess().is_none(), "a caller has had the error");
        accepted.lower(30);
        assert!(accepted.excess().is_some());
        // The publishers with smaller bounds have left.
        accepted.set(100);
        accepted.lower(50);
        assert!(accepted.excess().is_some());
    }

    #[test]
    fn smaller_bound_ends_with_the_last_publisher() {
        let accepted = AcceptedSubscriptions::new();
        accepted.set_held(2);
        accepted.lower(1);
        assert!(accepted.excess().is_some());
        accepted.forget_publishers();
        assert_eq!(accepted.max(), UNTOLD_MAX);
        accepted.lower(1);
        assert!(accepted.excess().is_some(), "the publisher came again");
        accepted.set(2 * UNTOLD_MAX);
        accepted.forget_publishers();
        assert_eq!(accepted.max(), 2 * UNTOLD_MAX);
    }

    #[test]
    fn change_that_takes_its_prefix_back_ends_the_excess() {
        let accepted = AcceptedSubscriptions::new();
        accepted.set_held(51);
        accepted.begin_change();
        accepted.set(50);
        accepted.set_held(50);
        assert!(accepted.end_change().is_none());
    }
}
