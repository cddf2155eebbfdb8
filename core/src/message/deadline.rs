//! When a call stops mattering.

use std::time::Duration;

use tokio::time::Instant;

/// The moment after which nobody waits for an outcome any more.
///
/// In a process it is an instant of tokio's clock, so that tests can pause it. On a wire it is the
/// time that remains, in milliseconds: clocks of two machines differ, and a duration does not care.
///
/// ```
/// use std::time::Duration;
/// use polywire_core::Deadline;
///
/// let deadline = Deadline::after(Duration::from_secs(30));
/// assert!(!deadline.is_expired());
/// assert!(deadline.remaining_ms() <= 30_000);
/// assert!(Deadline::after_ms(0).is_expired());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline `timeout` from now. One further away than [`Deadline::MAX`] is cut to it.
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout.min(Self::MAX))
    }

    /// The deadline `ms` milliseconds from now: how one is read off a wire.
    #[must_use]
    pub fn after_ms(ms: u64) -> Self {
        Self::after(Duration::from_millis(ms))
    }

    /// The furthest deadline: 30 days. A call that may take longer is two calls.
    pub const MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    /// The instant itself, for tokio's timers.
    #[must_use]
    pub fn instant(self) -> Instant {
        self.0
    }

    /// The time that is left, zero if none.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The time that is left in milliseconds, as it is written to a wire.
    ///
    /// Rounded up, so that zero means expired and nothing else.
    #[must_use]
    pub fn remaining_ms(self) -> u64 {
        let left = self.remaining();
        let ms = left.as_millis() + u128::from(!left.subsec_nanos().is_multiple_of(1_000_000));
        u64::try_from(ms).unwrap_or(u64::MAX)
    }

    /// Whether the moment has passed.
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
    async fn absurd_timeouts_are_cut_not_overflowed() {
        assert_eq!(Deadline::after(Duration::MAX).remaining(), Deadline::MAX);
        assert_eq!(Deadline::after_ms(u64::MAX).remaining(), Deadline::MAX);
    }
}
