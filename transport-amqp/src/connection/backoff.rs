//! Pauses between attempts, growing and randomized.

use std::time::Duration;

use tokio::time::sleep;

/// Pauses that double from one attempt to the next, from 0.1 to 5 seconds.
///
/// Each task that retries owns one, so the tasks of a transport back off independently. The random
/// part is not stored: [`pause`] adds it to each wait.
pub(crate) struct ReconnectBackoff {
    /// Length of the next wait, before the random part.
    pause: Duration,
    max: Duration,
}

impl ReconnectBackoff {
    /// Creates a backoff with pauses up to 5 seconds.
    pub(crate) fn new() -> Self {
        Self::up_to(PAUSE_MAX)
    }

    /// Creates a backoff whose pauses grow up to `max`, within 0.1 to 5 seconds.
    pub(crate) fn up_to(max: Duration) -> Self {
        let max = max.clamp(PAUSE_MIN, PAUSE_MAX);
        Self { pause: PAUSE_MIN, max }
    }

    /// Resets the pause, after an attempt that succeeded.
    pub(crate) fn reset(&mut self) {
        self.pause = PAUSE_MIN;
    }

    /// Sets the longest pause, after a failure that is not likely to pass soon.
    pub(crate) fn slow_down(&mut self) {
        self.pause = self.max;
    }

    /// Waits before the next attempt. If the future is dropped, the next pause is as long as this
    /// one.
    pub(crate) async fn wait(&mut self) {
        pause(self.pause).await;
        self.pause = (self.pause * 2).min(self.max);
    }
}

/// Sleeps for a random time between half of `time` and all of it, so that clients do not reconnect
/// in the same moment.
pub(crate) async fn pause(time: Duration) {
    sleep(time.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
}

/// First pause after a failure.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    async fn waited(backoff: &mut ReconnectBackoff) -> Duration {
        let start = Instant::now();
        backoff.wait().await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_up_to_a_bound_and_reset() {
        let mut backoff = ReconnectBackoff::up_to(Duration::from_secs(1));
        for most in [100, 200, 400, 800, 1_000, 1_000] {
            let most = Duration::from_millis(most);
            let waited = waited(&mut backoff).await;
            assert!(
                (most / 2..=most + Duration::from_millis(1)).contains(&waited),
                "{waited:?} of {most:?}"
            );
        }
        backoff.reset();
        assert!(waited(&mut backoff).await <= PAUSE_MIN + Duration::from_millis(1));
        backoff.slow_down();
        assert!(waited(&mut backoff).await >= Duration::from_millis(500));
    }
}
