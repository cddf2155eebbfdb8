//! The routing ids of own clients, by which sockets recognize canaries.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;

/// The routing id of a client by which the process reaches a socket of its own.
///
/// Own clients do not count for the bounds on connections, so a canary gets through where a socket
/// has as many peers as it may have. A socket knows the routing id of a peer after the handshake
/// only. While the value exists, sockets therefore let further peers finish their handshakes, and
/// disconnect those that are no own clients then.
#[derive(Debug)]
pub(crate) struct OwnIdentity(Bytes);

/// The number of values that exist, in all transports of the process.
static EXISTING: AtomicUsize = AtomicUsize::new(0);

/// The beginning of all routing ids: 16 random bytes, which no peer can guess. They leave the
/// process only for sockets of its own.
static PREFIX: LazyLock<Vec<u8>> = LazyLock::new(|| {
    // Hash map keys are the only source of randomness in the standard library.
    let random = || RandomState::new().hash_one(0_u8).to_be_bytes();
    [&b"canary."[..], &random(), &random()].concat()
});

#[cfg_attr(
    not(any(feature = "engine-omq", feature = "engine-zeromq")),
    allow(dead_code, reason = "the engines ask for it")
)]
impl OwnIdentity {
    /// Makes the routing id of one more own client. Each has another one: of two peers with the
    /// same, a ROUTER socket has the first only.
    pub(crate) fn begin() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        EXISTING.fetch_add(1, Ordering::SeqCst);
        let number = LAST.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        Self([&PREFIX[..], &number[..]].concat().into())
    }

    /// Returns the routing id.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Returns whether a routing id is that of an own client, which may have ended.
    pub(crate) fn is_own(identity: &[u8]) -> bool {
        identity.starts_with(&PREFIX)
    }

    /// Returns whether an own client may be in its handshake.
    pub(crate) fn is_any() -> bool {
        EXISTING.load(Ordering::SeqCst) > 0
    }
}

impl Drop for OwnIdentity {
    fn drop(&mut self) {
        EXISTING.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_clients_differ_and_are_known() {
        let (one, other) = (OwnIdentity::begin(), OwnIdentity::begin());
        assert_ne!(one.bytes(), other.bytes());
        assert!(OwnIdentity::is_any());
        assert!(OwnIdentity::is_own(one.bytes()) && OwnIdentity::is_own(other.bytes()));
        for identity in [&b""[..], b"canary.", &one.bytes()[1..], &[0; 31]] {
            assert!(!OwnIdentity::is_own(identity), "{identity:?}");
        }
    }
}
