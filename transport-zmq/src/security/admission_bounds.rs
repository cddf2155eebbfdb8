//! Bounds on the peers of a socket that listens.

use std::time::Duration;

use polywire_core::{Limits, Result};

use crate::common_errors::config;

/// Bounds on the peers of a socket that listens, so that untrusted peers cannot exhaust it.
///
/// Each socket has its own bounds. The servers of a transport share one socket; every other
/// endpoint handle has its own. [`Limits`] bound a single message.
///
/// The product of `connections_max` and the largest message bounds the memory that peers can
/// occupy. A server of untrusted peers should therefore set `body_max` to what its services need.
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
    /// The time for a handshake, from its first byte to its end. A slower peer is disconnected.
    /// The bound also holds for each attempt to connect. The default is 5 seconds.
    pub handshake_timeout: Duration,
    /// The maximum of simultaneous handshakes. One remote host may use an eighth of them, the
    /// local host all. A further connection is closed before its first byte is read; the peer
    /// may connect again. The default is 128.
    pub pending_handshakes_max: usize,
    /// The maximum of connected peers. Each takes about 150 KiB before it sends a message. The
    /// first further connections are closed after their handshake, later ones before it. The
    /// peer may connect again, and its error names this bound as a possible cause: a reason in the
    /// handshake would keep peers that use libzmq from connecting again. Canaries of the process
    /// do not count, here and for `host_connections_max`. The default is 1,024.
    pub connections_max: usize,
    /// The maximum of connected peers from one host: an IPv4 address, or a 64-bit network of IPv6.
    /// Further connections are closed as for `connections_max`. Peers at a socket file have no
    /// host. The default is 128.
    pub host_connections_max: usize,
    /// The maximum of prefixes that one subscriber subscribes to at a publisher. The publisher
    /// states the bound to the subscriber, where
    /// [`Filters::add`](polywire_core::transport::Filters::add) fails as
    /// [`Overloaded`](polywire_core::ErrorKind::Overloaded), with the name of this bound. A
    /// subscriber that has more when it connects gets such an error among its events. Its prefixes
    /// above twice as many and 1,024 more are ignored until it connects again. A peer that sends
    /// 16,384 of these is disconnected. A prefix that is longer than any topic is ignored. The
    /// default is 1,000.
    pub subscriptions_max: usize,
    /// The maximum size of a message in bytes: the sum of its frames, plus 64 bytes a frame. The
    /// bound holds for every socket, whichever side connects. A peer that announces or sends more
    /// is disconnected before memory is allocated.
    ///
    /// Only servers announce their bound. Clients learn it when they connect, and their larger
    /// requests fail as [`TooLarge`](polywire_core::ErrorKind::TooLarge), unsent. Clients, pullers
    /// and subscribers announce none. The sender of a message beyond their bound learns nothing:
    ///
    /// - A larger reply ends the connection of the client. All its calls there fail as
    ///   [`Disconnected`](polywire_core::ErrorKind::Disconnected). Idempotent ones are sent again,
    ///   up to five times.
    /// - A larger job is lost, although its push was Ok.
    /// - A larger event is lost, and events until the subscriber has connected again.
    ///
    /// So set the bound alike at both ends of each connection, and the [`Limits`] as well if the
    /// bound follows from them. `None`, the default, is the sum of the [`Limits`] for body, headers
    /// and frames. A bound below 593, the size of a message without a body, is refused.
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
    /// Fails with `Config` if a bound is so small that no peer could connect or send a message.
    pub(crate) fn check(&self) -> Result<()> {
        let named = [
            ("handshake_timeout", self.handshake_timeout.as_millis() == 0),
            ("pending_handshakes_max", self.pending_handshakes_max == 0),
            ("connections_max", self.connections_max == 0),
            ("host_connections_max", self.host_connections_max == 0),
            ("subscriptions_max", self.subscriptions_max == 0),
            ("message_max", self.message_max.is_some_and(|max| max < MESSAGE_MIN)),
        ];
        match named.into_iter().find(|(_, is_zero)| *is_zero) {
            None => Ok(()),
            Some((name, _)) => {
                Err(config("cannot build the transport: this bound is too small for any peer")
                    .with("bound", name))
            }
        }
    }

    /// Returns the number of subscriptions above which those of a peer are ignored. A subscriber
    /// sends up to 1,000 before it learns of the bound, and needs two more for its sync markers.
    #[cfg_attr(not(any(feature = "engine-omq", feature = "engine-zeromq")), allow(dead_code))]
    pub(crate) fn subscriptions_tolerated(&self) -> usize {
        self.subscriptions_max.saturating_mul(2).saturating_add(1024)
    }

    /// Returns the number of subscriptions, ignored ones included, above which a peer is
    /// disconnected.
    #[cfg_attr(not(any(feature = "engine-omq", feature = "engine-zeromq")), allow(dead_code))]
    pub(crate) fn subscriptions_sent_max(&self) -> usize {
        self.subscriptions_tolerated().saturating_add(IGNORED_MAX)
    }

    /// Returns the maximum size of a message for the engine, which counts 64 more bytes a frame.
    #[cfg_attr(not(any(feature = "engine-omq", feature = "engine-zeromq")), allow(dead_code))]
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

/// The maximum size of the first frame in bytes: an identity has up to 255, a channel and a topic
/// up to 200 each, with a zero byte between.
pub(crate) const FIRST_MAX: usize = 401;
const PART_COST: usize = 64;
/// Ignored subscriptions of a peer: 16,384. The engines may hold them until the peer disconnects.
const IGNORED_MAX: usize = 16_384;
/// The smallest bound of a message: without a body, and with an identity or a topic.
const MESSAGE_MIN: usize = FIRST_MAX + 3 * PART_COST;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_of_zero_is_refused_by_name() {
        assert!(Admission::default().check().is_ok());
        let error = Admission { connections_max: 0, ..Admission::default() }.check().unwrap_err();
        assert!(error.to_string().contains("connections_max"), "{error}");
    }

    #[test]
    fn largest_message_follows_from_the_limits() {
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
