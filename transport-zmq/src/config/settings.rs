//! The validated configuration of a transport.

use std::time::Duration;

use bytes::Bytes;
use polywire_core::Limits;

use super::batching::Batching;
use super::engine::Engine;
use crate::engine::ByteBudget;
use crate::security::Admission;
#[cfg(feature = "engine-omq")]
use crate::security::Security;
use crate::wire::{BATCH_MAX, StatedBounds, head_max};

/// The validated configuration of a transport, without its endpoints. See the methods of
/// [`ZmqBuilder`](super::ZmqBuilder) for what each value means.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The engine, which is compiled in.
    pub(crate) engine: Engine,
    /// Bounds on the size of a message.
    pub(crate) limits: Limits,
    /// Bounds on the peers of a socket that listens.
    pub(crate) admission: Admission,
    /// The security mechanism of every socket.
    #[cfg(feature = "engine-omq")]
    pub(crate) security: Security,
    /// The routing id of a socket that connects for requests or jobs. Empty, so that the peer
    /// chooses one, except for a client of a socket of the same process.
    #[cfg_attr(not(any(feature = "engine-omq", feature = "engine-zeromq")), allow(dead_code))]
    pub(crate) identity: Bytes,
    /// The time that a message waits for a connection.
    pub(crate) connect_timeout: Duration,
    /// The time that a closing socket goes on sending.
    #[cfg_attr(not(any(feature = "engine-omq", feature = "engine-zeromq")), allow(dead_code))]
    pub(crate) linger: Duration,
    /// The interval of heartbeats to a silent peer.
    #[cfg_attr(not(any(feature = "engine-omq", feature = "engine-zeromq")), allow(dead_code))]
    pub(crate) heartbeat: Duration,
    /// The bytes that may be on their way to one peer.
    pub(crate) peer_bytes_max: usize,
    /// Batches of messages to one peer: under load, or never.
    pub(crate) batching: Batching,
}

impl Settings {
    /// Returns the time of six heartbeats, after which a peer that shows no sign of life is given
    /// up where two heartbeats would end connections to peers that are only busy.
    #[cfg_attr(not(any(feature = "engine-omq", feature = "engine-zeromq")), allow(dead_code))]
    pub(crate) fn silence_max(&self) -> Duration {
        self.heartbeat.saturating_mul(6)
    }

    /// Returns the time of sixty heartbeats, after which a subscriber that takes no bytes is given
    /// up, although it is alive: its publisher's other subscribers wait for it.
    #[cfg_attr(not(any(feature = "engine-omq", feature = "engine-zeromq")), allow(dead_code))]
    pub(crate) fn unread_max(&self) -> Duration {
        self.silence_max().saturating_mul(10)
    }

    /// Returns the size of the largest message that a socket which listens accepts. The size is
    /// that of all frames, and 64 bytes for each.
    pub(crate) fn message_max(&self) -> u64 {
        let max = self.admission.message_max(&self.limits, head_max(&self.limits));
        u64::try_from(max).unwrap_or(u64::MAX)
    }

    /// Returns the size in bytes of the largest batch that is sent; 0 if none is sent. The size is
    /// too small to be counted among the unsent bytes of a peer. A peer may state a smaller bound.
    pub(crate) fn batch_max(&self) -> usize {
        match self.batching {
            Batching::Auto => BATCH_MAX.min(ByteBudget::uncounted_max(self.peer_bytes_max)),
            Batching::Off => 0,
        }
    }

    /// Returns the bounds that this side states to its peers. A balancer states only the largest
    /// batch.
    pub(crate) fn own_bounds(&self) -> StatedBounds {
        let message_max = self.message_max();
        let batch_max = match self.batching {
            // A bound on messages counts 64 bytes for each frame.
            Batching::Auto => u64::try_from(BATCH_MAX).ok().map(|max| max.min(message_max / 2)),
            Batching::Off => None,
        };
        StatedBounds { message_max: Some(message_max), batch_max }
    }

    /// Returns the configuration of a client that the sockets of this transport allow. `None` if
    /// the transport has no credentials of one.
    #[cfg(feature = "engine-omq")]
    pub(crate) fn of_own_client(&self) -> Option<Self> {
        let security = self.security.of_own_client()?;
        Some(Self { security, ..self.clone() })
    }

    /// Returns the configuration of a client that the sockets of this transport allow.
    #[cfg(not(feature = "engine-omq"))]
    pub(crate) fn of_own_client(&self) -> Option<Self> {
        Some(self.clone())
    }
}

/// The default of [`Settings::peer_bytes_max`]: 64 MiB.
pub(crate) const PEER_BYTES_MAX: usize = 64 << 20;
