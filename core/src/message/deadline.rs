//! Deadlines of calls.

use std::time::Duration;

use tokio::time::Instant;

/// Moment from which the client no longer waits for the outcome of a call.
///
/// Within a process a deadline is an instant of tokio's clock, so that tests can pause the clock.
/// On a wire a deadline is the remaining time in milliseconds, since the clocks of two machines
/// differ.
///
/// ```
/// use polywire_core::Deadline;
/// use std::time::Duration;
///
/// let deadline = Deadline::after(Duration::from_secs(30));
/// assert!(!deadline.is_expired());
/// assert!(deadline.remaining_ms() <= 30_000);
/// assert!(Deadline::after_ms(0).is_expired());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Instant);

impl Deadline {
    /// Returns the deadline `timeout` from now, but at most [`Deadline::MAX`] from now.
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout.min(Self::MAX))
    }

    /// Returns the deadline `ms` milliseconds from now, for decoding; see [`after`](Self::after).
    #[must_use]
    pub fn after_ms(ms: u64) -> Self {
        Self::after(Duration::from_millis(ms))
    }

    /// Longest time until a deadline: 30 days.
    pub const MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    /// Returns the instant, for tokio's timers.
    #[must_use]
    pub fn instant(self) -> Instant {
        self.0
    }

    /// Returns the remaining time; zero if the deadline has expired.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Returns the remaining time in milliseconds, for encoding.
    ///
    /// The time is rounded up, so that zero always means expired.
    #[must_use]
    pub fn remaining_ms(self) -> u64 {
        let left = self.remaining();
        let ms = left.as_millis() + u128::from(!left.subsec_nanos().is_multiple_of(1_000_000));
        u64::try_from(ms).unwrap_or(u64::MAX)
    }

    /// Returns the deadline that is earlier by this time; the present moment, if there is no such
    /// moment.
    #[must_use]
    pub fn earlier_by(self, time: Duration) -> Self {
        Self(self.0.checked_sub(time).unwrap_or_else(Instant::now))
    }

    /// Returns whether the deadline has expired.
    #[must_use]
    pub fn is_expired(self) -> bool {
        Instant::now() >= self.0
    }
}

impl From<Instant> for Deadline {
    fn from(instant: Instant) -> Self {
        Self(instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn remaining_time_shrinks_and_rounds_up() {
        let deadline = Deadline::after(Duration::from_micros(1_500));
        assert_eq!(deadline.remaining_ms(), 2);
        tokio::time::advance(Duration::from_micros(1_000)).await;
        assert_eq!(deadline.remaining_ms(), 1);
        assert!(!deadline.is_expired());
        tokio::time::advance(Duration::from_micros(500)).await;
        assert_eq!(deadline.remaining_ms(), 0);
        assert!(deadline.is_expired());
    }

    #[tokio::test(start_paused = true)]
    async fn huge_timeouts_are_cut_to_the_maximum() {
        assert_eq!(Deadline::after(Duration::MAX).remaining(), Deadline::MAX);
        assert_eq!(Deadline::after_ms(u64::MAX).remaining(), Deadline::MAX);
    }
}
