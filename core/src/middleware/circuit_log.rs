//! Log lines of a circuit breaker.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::transport::LogThrottle;

/// Log lines about a circuit that opens and closes.
///
/// A peer that fails now and then opens the circuit again and again, so openings have a line each
/// 10 seconds at most, whose `count` includes the failed probes of an opening without a line. The
/// end of an opening is logged if its begin was.
#[derive(Debug, Default)]
pub(super) struct CircuitLog {
    openings: LogThrottle,
    is_opening_logged: AtomicBool,
}

impl CircuitLog {
    /// Logs that the circuit has opened for a pause.
    pub(super) fn opened(&self, name: Option<&str>, pause_ms: u128) {
        let count = self.openings.note();
        // The caller holds the lock of the circuit.
        self.is_opening_logged.store(count.is_some(), Ordering::Relaxed);
        match count {
            Some(count) => tracing::warn!(name, pause_ms, count, "the circuit is open"),
            None => tracing::debug!(name, pause_ms, "the circuit is open"),
        }
    }

    /// Logs that the probe of a half-open circuit has failed. An opening that has no line yet gets
    /// one once a line is due: the last line may be about a circuit that has closed.
    pub(super) fn stays_open(&self, name: Option<&str>, pause_ms: u128) {
        if self.is_opening_logged.load(Ordering::Relaxed) {
            return tracing::debug!(name, pause_ms, "the circuit stays open");
        }
        self.opened(name, pause_ms);
    }

    /// Logs that the circuit has closed.
    pub(super) fn closed(&self, name: Option<&str>) {
        match self.is_opening_logged.load(Ordering::Relaxed) {
            true => tracing::info!(name, "the circuit is closed"),
            false => tracing::debug!(name, "the circuit is closed"),
        }
    }
}
