//! The retry policy for jobs and events whose handlers fail.
//!
//! The policy is applied in `core/src/worker/job_processor.rs`, after each failed attempt.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::message::DeadLetterReason;
use crate::transport::{Capabilities, DeadLetterInfo, Outcome, RetryAfter};

/// A retry policy for jobs and events: retries at once, then retries after growing pauses.
///
/// The default is five attempts in all: the second at once, the others after about 1, 4 and
/// 16 seconds. A job or event whose last attempt fails becomes a
/// [dead letter](crate::DeadLetters). On a transport without dead letters it is discarded and
/// logged.
///
/// ```
/// use polywire_core::Retries;
/// use std::time::Duration;
///
/// // At once, then after 10, 20, 40 and 60 seconds.
/// let patient =
///     Retries::new(6).backoff(Duration::from_secs(10), Duration::from_secs(60)).factor(2.0);
/// let hasty = Retries::at_once(3);
/// let none = Retries::new(1).then_discard();
/// # let _ = (patient, hasty, none);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a policy does nothing by itself"]
pub struct Retries {
    pub(super) attempts: u32,
    /// The number of retries without a pause.
    immediate: u32,
    min: Duration,
    max: Duration,
    factor: f64,
    jitter: f64,
    pub(super) on_exhausted: OnExhausted,
}

/// The treatment of a delivery whose last attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnExhausted {
    /// Dead-letters the delivery where the transport can, else discards it.
    DeadLetterOrDiscard,
    /// Dead-letters the delivery; binding fails where the transport cannot.
    DeadLetter,
    /// Discards the delivery.
    Discard,
}

impl Retries {
    /// The longest possible pause: a week. Longer pauses are cut to it.
    pub const PAUSE_MAX: Duration = RetryAfter::MAX;

    /// Creates a policy of this many attempts in all, at least one, and the default pauses.
    pub const fn new(attempts: u32) -> Self {
        Self {
            attempts: if attempts == 0 { 1 } else { attempts },
            immediate: 1,
            min: Duration::from_secs(1),
            max: Duration::from_secs(5 * 60),
            factor: 4.0,
            jitter: 0.2,
            on_exhausted: OnExhausted::DeadLetterOrDiscard,
        }
    }

    /// Creates a policy of this many attempts in all, without pauses.
    pub const fn at_once(attempts: u32) -> Self {
        Self { immediate: u32::MAX, ..Self::new(attempts) }
    }

    /// Sets the number of retries without a pause, before the first pause. The default is 1.
    pub const fn immediate(self, retries: u32) -> Self {
        Self { immediate: retries, ..self }
    }

    /// Sets the first and the longest pause, each at most [`Retries::PAUSE_MAX`]. The default is
    /// 1 second and 5 minutes.
    pub fn backoff(self, min: Duration, max: Duration) -> Self {
        let max = max.min(Self::PAUSE_MAX);
        Self { min: min.min(max), max, ..self }
    }

    /// Sets the factor by which each pause exceeds the previous pause, at least 1. The default is
    /// 4.
    pub fn factor(self, factor: f64) -> Self {
        Self { factor: if factor >= 1.0 { factor } else { 1.0 }, ..self }
    }

    /// Sets the fraction, from 0 to 1, by which a pause may be shortened at random. Deliveries that
    /// failed together are then not retried together. The default is 0.2.
    pub fn jitter(self, part: f64) -> Self {
        Self { jitter: if part >= 0.0 { part.min(1.0) } else { 0.0 }, ..self }
    }

    /// Dead-letters a delivery whose last attempt failed. On a transport without dead letters,
    /// binding then fails with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    pub const fn then_dead_letter(self) -> Self {
        Self { on_exhausted: OnExhausted::DeadLetter, ..self }
    }

    /// Discards a delivery whose last attempt failed, and logs the failure.
    pub const fn then_discard(self) -> Self {
        Self { on_exhausted: OnExhausted::Discard, ..self }
    }

    /// Fails if the policy needs a capability that the backend lacks. `option` names the option
    /// that sets the policy, and the detail `part` the part of the policy.
    pub(crate) fn check(&self, can: &Capabilities, option: &'static str) -> Result<()> {
        let lacking = |capability, part| Err(Error::lacking(option, capability).with("part", part));
        if self.on_exhausted == OnExhausted::DeadLetter && !can.dead_letters {
            return lacking("dead_letters", "Retries::then_dead_letter");
        }
        if self.attempts > 1 && !can.settlement {
            return lacking("settlement", "more than one attempt");
        }
        let pauses = self.attempts - 1 > self.immediate && !self.max.is_zero();
        if pauses && !can.delayed_retries {
            lacking("delayed_retries", "pauses between attempts")
        } else {
            Ok(())
        }
    }

    /// Returns the pause after this attempt has failed.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        let Some(earlier) = attempt.checked_sub(self.immediate.saturating_add(1)) else {
            return Duration::ZERO;
        };
        if self.min.is_zero() {
            // Zero does not grow, and zero times an infinite factor would be no number.
            return Duration::ZERO;
        }
        let growth = self.factor.powi(i32::try_from(earlier).unwrap_or(i32::MAX));
        let pause = (self.min.as_secs_f64() * growth).min(self.max.as_secs_f64());
        Duration::from_secs_f64(pause * (1.0 - self.jitter * random()))
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self::new(5)
    }
}

/// Settles a failed delivery as a dead letter, or discards it if the backend has no dead letters.
pub(crate) fn dead_letter_or_discard(
    can: &Capabilities,
    reason: DeadLetterReason,
    error: String,
) -> Outcome {
    if can.dead_letters {
        Outcome::DeadLetter(Box::new(DeadLetterInfo::new(reason, error)))
    } else {
        Outcome::Discard
    }
}

/// Returns a number from 0 to 1. A hasher of the standard library is random enough for a jitter.
fn random() -> f64 {
    let half = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or_default();
    f64::from(half) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(retries: Retries) -> Vec<f64> {
        (1..retries.attempts).map(|attempt| retries.pause(attempt).as_secs_f64()).collect()
    }

    #[test]
    fn pauses_start_after_the_immediate_retries_and_grow_to_a_bound() {
        assert_eq!(pauses(Retries::default().jitter(0.0)), [0.0, 1.0, 4.0, 16.0]);
        assert_eq!(pauses(Retries::at_once(4)), [0.0, 0.0, 0.0]);
        let bounded = Retries::new(6).immediate(0).jitter(0.0).factor(2.0);
        let bounded = bounded.backoff(Duration::from_secs(10), Duration::from_secs(60));
        assert_eq!(pauses(bounded), [10.0, 20.0, 40.0, 60.0, 60.0]);
        assert_eq!(bounded.pause(u32::MAX).as_secs(), 60);
    }

    #[test]
    fn jitter_shortens_and_never_lengthens() {
        let retries = Retries::new(3).immediate(0).jitter(0.5);
        for _ in 0..100 {
            let pause = retries.pause(1).as_secs_f64();
            assert!((0.5..=1.0).contains(&pause), "{pause}");
        }
    }

    #[test]
    fn invalid_numbers_are_clamped() {
        let odd =
            Retries::new(0).factor(f64::NAN).jitter(f64::NAN).backoff(Duration::MAX, Duration::MAX);
        assert_eq!((odd.attempts, odd.pause(9)), (1, Retries::PAUSE_MAX));
    }

    #[test]
    fn missing_capability_is_named() {
        let least = Capabilities::least(1);
        assert!(Retries::new(1).check(&least, "it").is_ok());
        for (retries, lacking) in [
            (Retries::new(1).then_dead_letter(), "dead_letters"),
            (Retries::at_once(2), "settlement"),
        ] {
            assert_eq!(
                retries.check(&least, "it").unwrap_err().detail("capability"),
                Some(lacking)
            );
        }
        let settles = Capabilities { settlement: true, ..least };
        assert!(Retries::at_once(2).check(&settles, "it").is_ok());
        assert_eq!(
            Retries::default().check(&settles, "it").unwrap_err().detail("capability"),
            Some("delayed_retries")
        );
    }
}
