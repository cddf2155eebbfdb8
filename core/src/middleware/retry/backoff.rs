//! Pauses between attempts.

use std::time::Duration;

/// Exponential backoff with full jitter: pauses that double with each attempt, multiplied by a
/// random factor from 0 to 1, so that clients that failed together do not retry together.
///
/// The default is a first pause of up to 50 milliseconds and at most 5 seconds.
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
    /// Creates pauses of up to `first`, doubled after each further attempt, and at most `max`.
    #[must_use]
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, is_constant: false }
    }

    /// Creates equal pauses without jitter.
    #[must_use]
    pub const fn constant(pause: Duration) -> Self {
        Self { first: pause, max: pause, is_constant: true }
    }

    /// Returns the pause after `attempt`, from 1.
    #[must_use]
    pub fn after(&self, attempt: u32) -> Duration {
        if self.is_constant {
            return self.first;
        }
        // 31 doublings of any pause but zero exceed every sensible `max`.
        let doubled = 1_u32 << attempt.saturating_sub(1).min(31);
        self.first.saturating_mul(doubled).min(self.max).mul_f64(fastrand::f64())
    }
}

/// Pauses of up to 50 milliseconds at first, and at most 5 seconds.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_vary_and_are_bounded() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for (attempt, most) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (60, 1000)] {
            let pauses: Vec<_> = (0..100).map(|_| backoff.after(attempt)).collect();
            assert!(
                pauses.iter().all(|pause| *pause <= Duration::from_millis(most)),
                "{attempt}: {pauses:?}"
            );
            assert!(
                pauses.iter().any(|pause| *pause > Duration::from_millis(most / 2)),
                "{attempt}: {pauses:?}"
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
