//! Version of the broker, where its abilities depend on that.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The first two numbers of the version that a broker states.
///
/// The order is that of the numbers: 3.13 comes before 4.0. The value 0.0 stands for an unknown
/// version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BrokerVersion(u16, u16);

impl BrokerVersion {
    /// The first version whose quorum queues know priorities.
    pub(crate) const QUORUM_PRIORITIES: Self = Self(4, 0);

    /// Returns whether the broker has stated a version, as far as this transport has read that.
    pub(crate) fn is_known(self) -> bool {
        self > Self(0, 0)
    }

    /// Finds the version in the payload of `connection.start`, among the broker's properties.
    ///
    /// `None` if the broker states no version, or one that is not understood. In AMQP 0-9-1 the
    /// properties are a field table. The search looks for the name `version`, behind the byte of
    /// its length, with a long string as the value.
    pub(super) fn in_start(payload: &[u8]) -> Option<Self> {
        const NAME: &[u8] = b"\x07versionS";
        let at = payload.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
        let (length, text) = payload.get(at..)?.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        Self::parse(std::str::from_utf8(text.get(..length)?).ok()?)
    }

    /// Parses a version with at least two numbers.
    ///
    /// The text behind the second number is ignored. `None` if one of the two numbers has a suffix,
    /// as in `4.0-rc`.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.');
        let mut next = || numbers.next()?.parse().ok();
        Some(Self(next()?, next()?))
    }
}

impl fmt::Display for BrokerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The version of the broker at the other end of a connection, which may change with a reconnect.
///
/// Clones share the value. The frame filter of a connection sets it when `connection.start`
/// arrives. Both numbers are in one atomic, so that no reader sees the half of a change. A lost
/// connection leaves the last value in place.
#[derive(Clone, Debug, Default)]
pub(crate) struct CurrentVersion(Arc<AtomicU32>);

impl CurrentVersion {
    /// Sets the version.
    pub(super) fn set(&self, BrokerVersion(major, minor): BrokerVersion) {
        self.0.store((u32::from(major) << 16) | u32::from(minor), Ordering::Release);
    }

    /// Returns the version; 0.0 if the broker states none.
    pub(crate) fn get(&self) -> BrokerVersion {
        let [a, b, c, d] = self.0.load(Ordering::Acquire).to_be_bytes();
        BrokerVersion(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(version: &str) -> Vec<u8> {
        let length = u32::try_from(version.len()).unwrap().to_be_bytes();
        let version = [b"\x07versionS", &length[..], version.as_bytes()].concat();
        let product = b"\x07productS\0\0\0\x08RabbitMQ";
        let size = u32::try_from(version.len() + product.len()).unwrap().to_be_bytes();
        [&[0, 10, 0, 10, 0, 9][..], &size, product, &version, b"\0\0\0\x05PLAIN"].concat()
    }

    #[test]
    fn version_is_found_among_the_properties() {
        for (text, expected) in [
            ("3.10.8", Some(BrokerVersion(3, 10))),
            ("4.3.6", Some(BrokerVersion(4, 3))),
            ("4.0.0-rc.1", Some(BrokerVersion(4, 0))),
            ("4", None),
            ("unknown.1", None),
        ] {
            assert_eq!(BrokerVersion::in_start(&start(text)), expected, "{text}");
        }
        let mut cut = start("4.3.6");
        cut.truncate(cut.len() - 12);
        assert_eq!(BrokerVersion::in_start(&cut), None);
        assert!(BrokerVersion(3, 13) < BrokerVersion::QUORUM_PRIORITIES);
        let current = CurrentVersion::default();
        assert_eq!(current.get().to_string(), "0.0");
        current.set(BrokerVersion(4, 3));
        assert_eq!(current.clone().get(), BrokerVersion(4, 3));
    }
}
