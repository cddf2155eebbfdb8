//! Rate-limited logging.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Rate limit of a log line for events that may occur thousands of times a second.
///
/// The first event is logged at once. Later events are counted and logged together with the first
/// event after each [`PAUSE`](Self::PAUSE). Untrusted peers can therefore not fill the log.
///
/// Public for the backends and the component of this project, which share it; hidden from the
/// documentation, since it is no part of the contract of a backend. It changes as a public item
/// does: a backend may be older than the core that it is built with.
///
/// ```
/// # use polywire_core::transport::LogThrottle;
/// static REFUSED: LogThrottle = LogThrottle::new();
///
/// if let Some(count) = REFUSED.note() {
///     tracing::warn!(count, "refused");
/// }
/// ```
#[derive(Debug, Default)]
pub struct LogThrottle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last_logged: Option<Instant>,
    /// Events since the last line.
    pending: u64,
}

impl LogThrottle {
    /// Shortest time between two lines: 10 seconds.
    pub const PAUSE: Duration = Duration::from_secs(10);

    /// Creates a throttle without events.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(State { last_logged: None, pending: 0 }))
    }

    /// Counts an event. Returns the number of events since the last line if a line is due, and
    /// `None` otherwise.
    pub fn note(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending += 1;
        if state.last_logged.is_some_and(|last| last.elapsed() < Self::PAUSE) {
            return None;
        }
        state.last_logged = Some(Instant::now());
        Some(std::mem::take(&mut state.pending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn first_event_is_logged_at_once_and_later_ones_together() {
        let throttle = LogThrottle::default();
        assert_eq!(throttle.note(), Some(1));
        assert!((0..1_000).all(|_| throttle.note().is_none()));
        tokio::time::advance(LogThrottle::PAUSE).await;
        assert_eq!(throttle.note(), Some(1_001));
        assert_eq!(throttle.note(), None);
    }
}
