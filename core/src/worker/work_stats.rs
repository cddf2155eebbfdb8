//! Counters of workers and listeners.

use std::ops::Add;

use super::counter::Counter;

/// A snapshot of the counters of a worker or a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkStats {
    /// Jobs or events that run at present.
    pub running: u64,
    /// Jobs or events whose handlers succeeded.
    pub done: u64,
    /// Failed attempts that are retried, once the backend has the message for that.
    pub retried: u64,
    /// Failed jobs or events that were discarded.
    pub discarded: u64,
    /// Failed jobs or events that are kept as [dead letters](crate::DeadLetters), once the backend
    /// has confirmed that.
    pub dead_lettered: u64,
    /// Handlers that panicked. They are among the retried, the discarded or the dead letters.
    pub panicked: u64,
    /// Deliveries that could not be decoded.
    pub rejected: u64,
    /// Jobs or events that did not begin within their
    /// [time to live](crate::Pusher::with_ttl). Those that ask for it are kept as dead letters; the
    /// others are discarded.
    pub expired: u64,
}

/// Adds the counters of two handles, such as those of a server that is bound again.
impl Add for WorkStats {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            running: self.running + other.running,
            done: self.done + other.done,
            retried: self.retried + other.retried,
            discarded: self.discarded + other.discarded,
            dead_lettered: self.dead_lettered + other.dead_lettered,
            panicked: self.panicked + other.panicked,
            rejected: self.rejected + other.rejected,
            expired: self.expired + other.expired,
        }
    }
}

/// The counters of a running worker or listener; see [`WorkStats`] for their meaning.
#[derive(Default)]
pub(super) struct WorkCounters {
    pub(super) running: Counter,
    pub(super) done: Counter,
    pub(super) retried: Counter,
    pub(super) discarded: Counter,
    pub(super) dead_lettered: Counter,
    pub(super) panicked: Counter,
    pub(super) rejected: Counter,
    pub(super) expired: Counter,
}

impl WorkCounters {
    /// Returns a snapshot.
    pub(super) fn stats(&self) -> WorkStats {
        WorkStats {
            running: self.running.value(),
            done: self.done.value(),
            retried: self.retried.value(),
            discarded: self.discarded.value(),
            dead_lettered: self.dead_lettered.value(),
            panicked: self.panicked.value(),
            rejected: self.rejected.value(),
            expired: self.expired.value(),
        }
    }
}
