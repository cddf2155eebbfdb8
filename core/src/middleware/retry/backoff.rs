//! How long to wait between attempts.

use std::time::Duration;

/// Waits that double from attempt to attempt, each cut by a random part, so that those who failed
/// together do not come back together.
///
/// ```
/// # use std::time::Duration;
/// use polywire_core::middleware::Backoff;
///
/// // Between 0 and 100 ms, then between 0 and 200 ms, and so on, up to 5 s.
/// let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// assert!(backoff.after(2) <= Duration::from_millis(200));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    is_constant: bool,
}

impl Backoff {
    /// Waits of up to `first`, twice as much after each further attempt, and never more than `max`.
    #[must_use]
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, is_constant: false }
    }

    /// The same wait after every attempt, and no chance in it.
    #[must_use]
    pub const fn constant(wait: Duration) -> Self {
        Self { first: wait, max: wait, is_constant: true }
    }

    /// How long to wait after `attempt`, counted from 1.
    #[must_use]
    pub fn after(&self, attempt: u32) -> Duration {
        if self.is_constant {
            return self.first;
        }
        // More than 31 doublings of anything are more than `max`, or of nothing.
        let doubled = 1_u32 << attempt.saturating_sub(1).min(31);
        self.first.saturating_mul(doubled).min(self.max).mul_f64(fastrand::f64())
    }
}

/// From 50 milliseconds up to 5 seconds.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_differ_and_are_bounded() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for (attempt, most) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (60, 1000)] {
            let waits: Vec<_> = (0..100).map(|_| backoff.after(attempt)).collect();
            assert!(
                waits.iter().all(|wait| *wait <= Duration::from_millis(most)),
                "{attempt}: {waits:?}"
            );
            assert!(
                waits.iter().any(|wait| *wait > Duration::from_millis(most / 2)),
                "{attempt}: {waits:?}"
            );
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        assert!(
            Backoff::new(Duration::MAX, Duration::from_secs(1)).after(u32::MAX)
                <= Duration::from_secs(1)
        );
        assert_eq!(Backoff::constant(Duration::ZERO).after(0), Duration::ZERO);
    }
}
