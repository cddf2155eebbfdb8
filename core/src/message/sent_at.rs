//! Stamps of the moment at which a request was sent.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::{Error, ErrorKind};

/// Moment at which a request was written, by the clock of its sender.
///
/// The clock of a process starts at the system time and then runs evenly, whatever happens to the
/// system time. A stamp of one process has a meaning only for another stamp of the same process:
/// see [`WaitingTimes`](crate::transport::WaitingTimes).
///
/// A text wire carries a stamp as `SENDER-MILLISECONDS`, with the sender in hexadecimal digits. A
/// binary wire carries the 16 bytes of [`to_bytes`](Self::to_bytes).
///
/// ```
/// use polywire_core::message::SentAt;
///
/// let sent: SentAt = "00000000000000ff-1764380000000".parse()?;
/// assert_eq!(sent.sender, 255);
/// assert_eq!(SentAt::from_bytes(sent.to_bytes()), sent);
/// assert_eq!(sent.to_string(), "00000000000000ff-1764380000000");
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentAt {
    /// Random number of the sending process.
    pub sender: u64,
    /// Milliseconds on the clock of the sender; about those since 1970, if its system time was
    /// right when it started.
    pub ms: u64,
}

impl SentAt {
    /// Returns the stamp of this process, now.
    #[must_use]
    pub fn now() -> Self {
        let clock = ProcessClock::get();
        Self { sender: clock.number, ms: clock.now_ms() }
    }

    /// Returns the 16 bytes of the stamp: the sender and the milliseconds, both big-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.sender) << 64 | u128::from(self.ms)).to_be_bytes()
    }

    /// Returns the stamp of these 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { sender: (both >> 64) as u64, ms: both as u64 }
    }
}

impl fmt::Display for SentAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.sender, self.ms)
    }
}

/// Fails with [`ErrorKind::Codec`] for any other form.
impl FromStr for SentAt {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (sender, ms) = text.split_once('-')?;
            Some(Self { sender: u64::from_str_radix(sender, 16).ok()?, ms: ms.parse().ok()? })
        };
        parse().ok_or_else(|| {
            Error::new(ErrorKind::Codec, "cannot decode the stamp: it is not `SENDER-MILLISECONDS`")
        })
    }
}

/// The clock of this process.
#[derive(Clone, Copy)]
pub(crate) struct ProcessClock {
    /// The random number of the process.
    number: u64,
    start: Instant,
    /// The system time at the start, since 1970.
    system_time: Duration,
}

impl ProcessClock {
    /// Returns the clock, which the first call starts.
    pub(crate) fn get() -> Self {
        static CLOCK: OnceLock<ProcessClock> = OnceLock::new();
        *CLOCK.get_or_init(|| Self {
            number: fastrand::u64(..),
            start: Instant::now(),
            system_time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        })
    }

    /// Returns the milliseconds on the clock.
    pub(crate) fn now_ms(&self) -> u64 {
        let now = self.system_time.saturating_add(self.start.elapsed());
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_of_one_process_differ_in_their_time_only() {
        let (first, second) = (SentAt::now(), SentAt::now());
        assert_eq!(first.sender, second.sender);
        assert!(first.ms <= second.ms);
    }

    #[test]
    fn malformed_stamps_are_refused() {
        for text in ["", "-", "12", "xyz-5", "ff-", "ff--1", "ff-5x", "11112222333344445-1"] {
            assert_eq!(text.parse::<SentAt>().unwrap_err().kind(), ErrorKind::Codec, "{text}");
        }
    }
}
