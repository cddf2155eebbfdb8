//! Whom a socket that listens lets in, and how much they may ask of it.

use std::time::Duration;

use polywire_core::{Limits, Result};

use crate::error::config;

/// Bounds on what strangers can do to a socket that listens.
///
/// They bound each socket: the responders of a transport share one, every other end has its own.
/// What a single message may hold is in [`Limits`]. Together they bound the memory that others can
/// take: connections times the largest message, so who lets strangers in should set `body_max` to
/// what the services need.
///
/// ```
/// use polywire_zmq::{Admission, Zmq};
///
/// let admission = Admission { host_connections_max: 16, ..Admission::default() };
/// let transport = Zmq::builder().bind("tcp://0.0.0.0:5555").admission(admission).build()?;
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Admission {
    /// How long a peer may take from the first byte to the end of its handshake. Then it is hung
    /// up on. It bounds a single attempt to dial, too. The default is 5 seconds.
    pub handshake_timeout: Duration,
    /// Peers that are in their handshake. A host may take an eighth of them; this machine all. One
    /// more is hung up on before it is read; it may come again. The default is 128.
    pub pending_handshakes_max: usize,
    /// Peers that are connected; each takes about 150 KiB before it has said anything. One more is
    /// hung up on after its handshake, and then before it; it may come again. The default is
    /// 1,024.
    pub connections_max: usize,
    /// Peers that are connected from one host: an address of IPv4, or a network of 64 bits of
    /// IPv6. One more is hung up on likewise. Socket files know no hosts. The default is 128.
    pub host_connections_max: usize,
    /// Prefixes that one subscriber is subscribed to at a publisher. With one more it is hung up
    /// on, and has to come again. The default is 1,000. One that is longer than any topic can
    /// be is not taken in.
    pub subscriptions_max: usize,
    /// Bytes in a message with all its frames, and 64 more a frame. A peer that announces or sends
    /// more is hung up on, before there is room made for it. `None`, the default, is what
    /// [`Limits`] say for body, headers and frames together.
    pub message_max: Option<usize>,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            pending_handshakes_max: 128,
            connections_max: 1024,
            host_connections_max: 128,
            subscriptions_max: 1000,
            message_max: None,
        }
    }
}

impl Admission {
    pub(crate) fn check(&self) -> Result<()> {
        let named = [
            ("handshake_timeout", self.handshake_timeout.is_zero()),
            ("pending_handshakes_max", self.pending_handshakes_max == 0),
            ("connections_max", self.connections_max == 0),
            ("host_connections_max", self.host_connections_max == 0),
            ("subscriptions_max", self.subscriptions_max == 0),
            ("message_max", self.message_max == Some(0)),
        ];
        match named.into_iter().find(|(_, is_zero)| *is_zero) {
            None => Ok(()),
            Some((name, _)) => Err(config("a bound that lets nobody in").with("bound", name)),
        }
    }

    /// What the engine is told, which counts 64 bytes for each frame.
    #[cfg_attr(
        not(feature = "engine-omq"),
        allow(dead_code, reason = "the other engine has no limit")
    )]
    pub(crate) fn message_max(&self, limits: &Limits, head_max: usize) -> usize {
        // An identity or a topic, the envelope, and the body.
        let parts = limits.frames_max.saturating_add(3).saturating_mul(PART_COST);
        let all = limits
            .body_max
            .saturating_add(head_max)
            .saturating_add(FIRST_MAX)
            .saturating_add(parts);
        self.message_max.unwrap_or(all)
    }
}

/// An identity takes 255 bytes at the most; a channel and a topic 200 each, and a zero byte.
pub(crate) const FIRST_MAX: usize = 401;
const PART_COST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_lets_nobody_in_is_named() {
        assert!(Admission::default().check().is_ok());
        let error = Admission { connections_max: 0, ..Admission::default() }.check().unwrap_err();
        assert!(error.to_string().contains("connections_max"), "{error}");
    }

    #[test]
    fn the_largest_message_follows_from_the_limits() {
        let limits = Limits { body_max: 1000, frames_max: 1, ..Limits::default() };
        assert_eq!(
            Admission::default().message_max(&limits, 100),
            1000 + 100 + FIRST_MAX + 4 * PART_COST
        );
        let smaller = Admission { message_max: Some(7), ..Admission::default() };
        assert_eq!(smaller.message_max(&limits, 100), 7);
        let all = Limits { body_max: usize::MAX, ..limits };
        assert_eq!(Admission::default().message_max(&all, 100), usize::MAX);
    }
}
