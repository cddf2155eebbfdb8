//! Counters of events, and of deliveries in flight.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that many tasks increment.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the present value.
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds one until the returned guard is dropped.
    pub(crate) fn enter(&self) -> InFlightGuard<'_> {
        self.increment();
        InFlightGuard(self)
    }
}

/// A guard that counts a delivery as in flight; made by [`Counter::enter`].
pub(crate) struct InFlightGuard<'a>(&'a Counter);

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
