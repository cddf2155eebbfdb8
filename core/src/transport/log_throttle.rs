//! What happens often, told now and then.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Keeps what may happen thousands of times a second from filling the log: the first is told at
/// once, those that follow together, once in [`PAUSE`](Self::PAUSE), with the next one after it.
/// For backends, which strangers may keep busy.
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
    told: Option<Instant>,
    untold: u64,
}

impl LogThrottle {
    /// The time between two lines: 10 seconds.
    pub const PAUSE: Duration = Duration::from_secs(10);

    /// One of which nothing was told yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(State { told: None, untold: 0 }))
    }

    /// Notes that it happened. How many there were since the last line, if it is time for another
    /// one.
    pub fn note(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.untold += 1;
        if state.told.is_some_and(|told| told.elapsed() < Self::PAUSE) {
            return None;
        }
        state.told = Some(Instant::now());
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn first_is_told_at_once_and_the_rest_together() {
        let burst = LogThrottle::default();
        assert_eq!(burst.note(), Some(1));
        assert!((0..1_000).all(|_| burst.note().is_none()));
        tokio::time::advance(LogThrottle::PAUSE).await;
        assert_eq!(burst.note(), Some(1_001));
        assert_eq!(burst.note(), None);
    }
}
