//! Gauges of waiting retries and of circuit breakers.

use metrics::{Gauge, gauge};

/// Guard of a retry that waits for its pause to pass.
pub(in crate::middleware) struct WaitingRetry(Gauge);

impl WaitingRetry {
    /// Counts a retry as waiting until the guard is dropped.
    pub(in crate::middleware) fn begin() -> Self {
        let waiting = gauge!("polywire_retries_waiting");
        waiting.increment(1);
        Self(waiting)
    }
}

impl Drop for WaitingRetry {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// Sets the state of the circuit breaker `name`: 0 closed, 1 half-open, 2 open.
pub(in crate::middleware) fn set_circuit_state(name: &str, state: u8) {
    gauge!("polywire_circuit_state", "name" => name.to_owned()).set(f64::from(state));
}
