//! The time at which the table of in-flight calls is searched for expired ones.

use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

/// The time of the next search for expired calls, and the task that searches.
#[derive(Default)]
pub(super) struct Expiry {
    /// No call in flight expires earlier.
    pub(super) next: Option<Instant>,
    /// The end of the pause after the last search.
    paused_until: Option<Instant>,
    /// The task, if it waits for a change of `next`.
    pub(super) task: Option<Waker>,
}

/// The pause after a search, for each place in the table: 15 ms for 131,072 calls, by which a call
/// may end late. The search itself takes a small part of it.
const PAUSE: Duration = Duration::from_nanos(64);

impl Expiry {
    /// Begins anew after a search of a table of this many places.
    pub(super) fn searched(&mut self, now: Instant, places: usize) {
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        (self.next, self.paused_until) = (None, now.checked_add(PAUSE.saturating_mul(places)));
    }

    /// Notes a deadline. Returns the task if it is to be woken.
    pub(super) fn add(&mut self, deadline: Instant) -> Option<Waker> {
        if self.next.is_some_and(|next| next <= deadline) {
            return None;
        }
        let next = self.paused_until.map_or(deadline, |until| deadline.max(until));
        if self.next.is_some_and(|before| before <= next) {
            return None;
        }
        self.next = Some(next);
        self.task.take()
    }
}
