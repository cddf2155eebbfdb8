//! The disturbances that are in force at a proxy.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::hook::Direction;

/// The disturbances that last until the proxy is healed. The default is none.
///
/// Each connection looks at the rules before each chunk, through a watch channel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProxyRules {
    /// The delay of each chunk.
    pub(super) delay: Duration,
    /// The bandwidth of each direction of each connection.
    pub(super) bytes_per_second: Option<u32>,
    /// True where bytes are discarded, by direction.
    pub(super) holes: [bool; 2],
    /// True while new connections are closed at once.
    pub(super) refuse: bool,
    /// The number of times that all connections were closed. A connection that began at a smaller
    /// number ends.
    pub(super) severed: u64,
}

impl ProxyRules {
    /// Returns true if the bytes of this direction are discarded.
    pub(super) fn swallows(&self, direction: Direction) -> bool {
        self.holes[direction as usize]
    }

    /// Returns the delay of a chunk of this size.
    ///
    /// The delay of a chunk, and the time that its bytes take at the given bandwidth, add up.
    pub(super) fn delay_of(&self, size: usize) -> Duration {
        let narrow = self
            .bytes_per_second
            .map_or(Duration::ZERO, |rate| Duration::from_secs_f64(size as f64 / f64::from(rate)));
        self.delay + narrow
    }
}

/// The cuts that were requested and not made yet, by direction. The next connection with a message
/// takes each.
#[derive(Debug, Default)]
pub(super) struct PendingCuts([AtomicBool; 2]);

/// The least bytes of a chunk that is cut. Heartbeats of ZeroMQ and of AMQP are smaller.
const MESSAGE_MIN: usize = 64;

impl PendingCuts {
    /// Requests a cut.
    pub(super) fn order(&self, direction: Direction) {
        self.0[direction as usize].store(true, Ordering::Release);
    }

    /// Withdraws all requested cuts.
    pub(super) fn cancel(&self) {
        self.0.iter().for_each(|ordered| ordered.store(false, Ordering::Release));
    }

    /// Takes the requested cut for a chunk of this size. Returns true if this chunk is to be cut.
    pub(super) fn take(&self, direction: Direction, size: usize) -> bool {
        size >= MESSAGE_MIN && self.0[direction as usize].swap(false, Ordering::AcqRel)
    }
}
