//! Counters of servers.

use std::ops::Add;

use crate::worker::Counter;

/// A snapshot of the counters of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Requests that run at present.
    pub running: u64,
    /// Requests that were answered, with a result or a fault.
    pub answered: u64,
    /// Handlers that panicked. Their requests are among the answered.
    pub panicked: u64,
    /// Requests that arrived after their deadline, or ran until it, and one-way calls that did not
    /// begin within their time to live. They are not answered.
    pub expired: u64,
    /// Requests that could not be decoded, nor answered.
    pub rejected: u64,
    /// Requests that were refused: by a draining server, as redelivered where requests run at most
    /// once, or beyond the maximum number of deliveries.
    pub refused: u64,
    /// Replies that could not be sent. Where the transport can settle, their requests are
    /// redelivered.
    pub undelivered: u64,
    /// Duplicates that were answered with the first reply. They are among the answered.
    pub duplicates: u64,
    /// Requests whose handlers were stopped because their callers cancelled.
    pub cancelled: u64,
    /// Requests that were [declined](crate::Fault::declined). A request that no other server gets
    /// is also among the answered.
    pub declined: u64,
    /// Requests that were [answered](crate::Replier) before their handlers ended. They are counted
    /// when the handler ends, and are among the answered.
    pub answered_early: u64,
    /// Handlers that failed or panicked after their reply. They are among the answered early.
    pub failed_late: u64,
}

/// Adds the counters of two handles, such as those of a server that is bound again.
impl Add for ServerStats {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            running: self.running + other.running,
            answered: self.answered + other.answered,
            panicked: self.panicked + other.panicked,
            expired: self.expired + other.expired,
            rejected: self.rejected + other.rejected,
            refused: self.refused + other.refused,
            undelivered: self.undelivered + other.undelivered,
            duplicates: self.duplicates + other.duplicates,
            cancelled: self.cancelled + other.cancelled,
            declined: self.declined + other.declined,
            answered_early: self.answered_early + other.answered_early,
            failed_late: self.failed_late + other.failed_late,
        }
    }
}

/// The counters of a running server; see [`ServerStats`] for their meaning.
#[derive(Default)]
pub(super) struct ServerCounters {
    pub(super) running: Counter,
    pub(super) answered: Counter,
    pub(super) panicked: Counter,
    pub(super) expired: Counter,
    pub(super) rejected: Counter,
    pub(super) refused: Counter,
    pub(super) undelivered: Counter,
    pub(super) duplicates: Counter,
    pub(super) cancelled: Counter,
    pub(super) declined: Counter,
    pub(super) answered_early: Counter,
    pub(super) failed_late: Counter,
}

impl ServerCounters {
    /// Returns a snapshot.
    pub(super) fn stats(&self) -> ServerStats {
        ServerStats {
            running: self.running.value(),
            answered: self.answered.value(),
            panicked: self.panicked.value(),
            expired: self.expired.value(),
            rejected: self.rejected.value(),
            refused: self.refused.value(),
            undelivered: self.undelivered.value(),
            duplicates: self.duplicates.value(),
            cancelled: self.cancelled.value(),
            declined: self.declined.value(),
            answered_early: self.answered_early.value(),
            failed_late: self.failed_late.value(),
        }
    }
}
