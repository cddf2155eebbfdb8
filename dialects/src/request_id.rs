//! The identity of a request among those of its caller.

use std::sync::atomic::{AtomicU64, Ordering};

/// Identity of a request among those with the same reply queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestId {
    /// Id that the caller has set: the correlation id of nameko, the message id of amqprpc. The
    /// reply has it as well.
    Given(String),
    /// Number of this process for a request without an id. No reply has it: it keeps a server that
    /// deduplicates from taking the next request for the same one.
    Numbered(u64),
}

impl RequestId {
    /// Returns the id that the caller has set, or a number that this process returns once.
    pub(crate) fn new(given: Option<&str>) -> Self {
        given.map_or_else(|| Self::Numbered(next_number()), |id| Self::Given(id.to_owned()))
    }
}

/// Returns a number that this process returns once.
pub(crate) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
