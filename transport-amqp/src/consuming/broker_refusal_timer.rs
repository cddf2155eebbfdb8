//! The time for which the broker refuses a queue.

use std::time::Duration;

use polywire_core::Error;
use tokio::time::Instant;

use crate::engine_error::is_refusal;

/// Timer of consecutive refusals of one queue.
///
/// Each task that consumes a queue owns one.
pub(super) struct RefusalTimer {
    give_up_after: Duration,
    /// The first refusal since the last attempt that was not refused.
    since: Option<Instant>,
}

impl RefusalTimer {
    /// Creates a timer that has not begun.
    pub(super) fn new(give_up_after: Duration) -> Self {
        Self { give_up_after, since: None }
    }

    /// Notes a failed attempt. Returns whether the refusals have lasted for too long.
    ///
    /// Any other failure resets the timer: this attempt was not refused, so an earlier refusal may
    /// be over.
    pub(super) fn has_expired(&mut self, error: &Error) -> bool {
        if !is_refusal(error) {
            self.reset();
            return false;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() >= self.give_up_after
    }

    /// Notes an attempt that was not refused.
    pub(super) fn reset(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::ErrorKind;
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_consecutive_refusals_count() {
        let second = Duration::from_secs(1);
        let refused = Error::new(ErrorKind::Config, "the queue has other options");
        let lost = Error::new(ErrorKind::Disconnected, "the connection is lost");
        let mut timer = RefusalTimer::new(3 * second);
        assert!(!timer.has_expired(&refused));
        advance(2 * second).await;
        assert!(!timer.has_expired(&refused) && !timer.has_expired(&lost));
        advance(2 * second).await;
        assert!(!timer.has_expired(&refused));
        advance(3 * second).await;
        assert!(timer.has_expired(&refused));
        timer.reset();
        assert!(!timer.has_expired(&refused));
    }
}
