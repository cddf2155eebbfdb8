//! Log lines about peers beyond the bounds of admission.

use std::sync::Mutex;

use polywire_core::transport::LogThrottle;

use crate::lock::lock;

/// A throttle for each bound, so that the first line of none is hidden.
///
/// Bounded by the number of bounds, whose names are constants.
#[derive(Debug, Default)]
pub(super) struct AdmissionLog(Mutex<Vec<(&'static str, LogThrottle)>>);

impl AdmissionLog {
    /// Logs a peer beyond the bound of this name, throttled.
    pub(super) fn note(&self, bound: &'static str) {
        let mut throttles = lock(&self.0);
        if !throttles.iter().any(|(name, _)| *name == bound) {
            throttles.push((bound, LogThrottle::new()));
        }
        let throttle = throttles.iter().find(|(name, _)| *name == bound);
        if let Some(count) = throttle.and_then(|(_, throttle)| throttle.note()) {
            tracing::warn!(bound, count, "disconnected peers beyond the bounds of admission");
        }
    }
}
