//! What strangers can cause as often as they like, told once in a while.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::lock;

/// Counts what is not worth a line each time.
#[derive(Debug)]
pub(crate) struct Burst(Mutex<State>);

#[derive(Debug)]
struct State {
    told: Option<Instant>,
    untold: u64,
}

impl Burst {
    /// The time between two lines.
    const PAUSE: Duration = Duration::from_secs(10);

    pub(crate) const fn new() -> Self {
        Self(Mutex::new(State { told: None, untold: 0 }))
    }

    /// Notes that it happened. How often since the last line, if it is time for another one.
    pub(crate) fn note(&self) -> Option<u64> {
        let mut state = lock(&self.0);
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
    async fn the_first_is_told_at_once_and_the_rest_together() {
        let burst = Burst::new();
        assert_eq!(burst.note(), Some(1));
        assert!((0..1_000).all(|_| burst.note().is_none()));
        tokio::time::advance(Burst::PAUSE).await;
        assert_eq!(burst.note(), Some(1_001));
    }
}
