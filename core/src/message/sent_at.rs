//! Stamps of the moment at which a request was sent.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::{Error, ErrorKind};

/// Moment at which a request was written, by a clock of its sender.
///
/// The clock begins at the system time and then runs evenly. When the system time is set, or the
/// machine was suspended, the clock begins anew under another number. So the stamps of one number
/// can be compared with each other; stamps of different numbers only as far as the system times of
/// the machines agree. See [`WaitingTimes`](crate::transport::WaitingTimes).
///
/// A text wire carries a stamp as `CLOCK-MILLISECONDS`, with the number of the clock in hexadecimal
/// digits. A binary wire carries the 16 bytes of [`to_bytes`](Self::to_bytes).
///
/// ```
/// use polywire_core::message::SentAt;
///
/// let sent: SentAt = "00000000000000ff-1764380000000".parse()?;
/// assert_eq!(sent.clock, 255);
/// assert_eq!(SentAt::from_bytes(sent.to_bytes()), sent);
/// assert_eq!(sent.to_string(), "00000000000000ff-1764380000000");
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentAt {
    /// Number of the clock. The first half stands for the machine, and the second half is random.
    pub clock: u64,
    /// Milliseconds on the clock: about those since 1970, if the system time of the sender is
    /// right.
    pub ms: u64,
}

impl SentAt {
    /// Returns the stamp of this process, now.
    #[must_use]
    pub fn now() -> Self {
        let stamp = {
            let clock = CLOCK.read().unwrap_or_else(PoisonError::into_inner);
            clock.as_ref().and_then(EvenClock::stamp_unless_jumped)
        };
        stamp.unwrap_or_else(|| {
            let mut clock = CLOCK.write().unwrap_or_else(PoisonError::into_inner);
            clock.get_or_insert_with(EvenClock::start).stamp()
        })
    }

    /// Returns whether the stamp was made on this machine. Its milliseconds are then those of our
    /// system time, unless that was set meanwhile.
    pub(crate) fn is_of_this_machine(self) -> bool {
        (self.clock >> 32) as u32 == machine()
    }

    /// Returns the 16 bytes of the stamp: the clock and the milliseconds, both big-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.clock) << 64 | u128::from(self.ms)).to_be_bytes()
    }

    /// Returns the stamp of these 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { clock: (both >> 64) as u64, ms: both as u64 }
    }
}

impl fmt::Display for SentAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.clock, self.ms)
    }
}

/// Fails with [`ErrorKind::Codec`] for any other form.
impl FromStr for SentAt {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (clock, ms) = text.split_once('-')?;
            Some(Self { clock: u64::from_str_radix(clock, 16).ok()?, ms: ms.parse().ok()? })
        };
        parse().ok_or_else(|| {
            Error::new(ErrorKind::Codec, "cannot decode the stamp: it is not `CLOCK-MILLISECONDS`")
        })
    }
}

/// Returns the number of this machine: of its kernel, since all containers of a kernel have the
/// same system time. Where the kernel has no number, the process has one of its own.
fn machine() -> u32 {
    static MACHINE: OnceLock<u32> = OnceLock::new();
    *MACHINE.get_or_init(|| match std::fs::read("/proc/sys/kernel/random/boot_id") {
        Ok(boot) => {
            // Its keys are constants: all programs of one version get the same number.
            let mut hasher = DefaultHasher::new();
            boot.hash(&mut hasher);
            hasher.finish() as u32
        }
        Err(_) => fastrand::u32(..),
    })
}

/// The clock of this process. Written at the first stamp, and when the system time has jumped.
static CLOCK: RwLock<Option<EvenClock>> = RwLock::new(None);

/// A clock that begins at the system time and runs evenly.
struct EvenClock {
    number: u64,
    start: Instant,
    /// The system time at the start.
    system_time: Duration,
}

impl EvenClock {
    fn start() -> Self {
        let number = u64::from(machine()) << 32 | u64::from(fastrand::u32(..));
        Self { number, start: Instant::now(), system_time: system_time() }
    }

    /// Returns the time, or `None` if the system time may have jumped. Looks at each clock once.
    fn stamp_unless_jumped(&self) -> Option<SentAt> {
        let time = self.time();
        (time.abs_diff(system_time()) <= JUMP).then(|| self.stamp_at(time))
    }

    /// Returns the time, on a new clock if the system time has jumped.
    fn stamp(&mut self) -> SentAt {
        // Twice, since the process may have been paused between two looks at the clocks.
        if self.differs_from(system_time()) && self.differs_from(system_time()) {
            *self = Self::start();
        }
        self.stamp_at(self.time())
    }

    fn stamp_at(&self, time: Duration) -> SentAt {
        SentAt { clock: self.number, ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX) }
    }

    fn differs_from(&self, system_time: Duration) -> bool {
        self.time().abs_diff(system_time) > JUMP
    }

    fn time(&self) -> Duration {
        self.system_time.saturating_add(self.start.elapsed())
    }
}

/// The difference from the system time at which a clock begins anew.
const JUMP: Duration = Duration::from_millis(100);

/// Returns the system time since 1970; zero before.
pub(crate) fn system_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_begins_anew_when_the_system_time_jumps() {
        let mut clock = EvenClock::start();
        let (first, second) = (clock.stamp(), clock.stamp());
        assert_eq!(first.clock, second.clock);
        assert!(first.ms <= second.ms);
        assert_eq!(clock.stamp_unless_jumped().unwrap().clock, first.clock);
        for jump in [Duration::from_millis(500), Duration::from_secs(3600)] {
            for set_back in [true, false] {
                let mut clock = EvenClock::start();
                let before = clock.stamp();
                // As if the system time had been set, or the even clock had been suspended.
                let system_time = clock.system_time;
                clock.system_time =
                    if set_back { system_time + jump } else { system_time.saturating_sub(jump) };
                assert_eq!(clock.stamp_unless_jumped(), None);
                let after = clock.stamp();
                assert_ne!(before.clock, after.clock);
                assert!(after.ms.abs_diff(before.ms) < 400, "{before} {after}");
            }
        }
    }

    #[test]
    fn malformed_stamps_are_refused() {
        for text in ["", "-", "12", "xyz-5", "ff-", "ff--1", "ff-5x", "11112222333344445-1"] {
            assert_eq!(text.parse::<SentAt>().unwrap_err().kind(), ErrorKind::Codec, "{text}");
        }
    }
}
