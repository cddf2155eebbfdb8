//! What a proxy was told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Direction;

/// What holds until it is healed. By default everything passes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    pub(super) delay: Duration,
    pub(super) bytes_per_second: Option<u32>,
    /// Whether bytes vanish, by direction.
    pub(super) holes: [bool; 2],
    pub(super) refuse: bool,
    /// How often everything was cut: a connection that has seen another number is over.
    pub(super) severed: u64,
}

impl Rules {
    pub(super) fn swallows(&self, direction: Direction) -> bool {
        self.holes[direction as usize]
    }

    /// How long a piece of this size is held up.
    pub(super) fn hold_up(&self, size: usize) -> Duration {
        let narrow = self
            .bytes_per_second
            .map_or(Duration::ZERO, |rate| Duration::from_secs_f64(size as f64 / f64::from(rate)));
        self.delay + narrow
    }
}

/// Cuts that were ordered and not made yet, by direction: each is made by the first connection that
/// comes by.
#[derive(Debug, Default)]
pub(super) struct Cuts([AtomicBool; 2]);

/// A ping of ZeroMQ and a heartbeat of AMQP are smaller.
const MESSAGE_MIN: usize = 64;

impl Cuts {
    pub(super) fn order(&self, direction: Direction) {
        self.0[direction as usize].store(true, Ordering::Release);
    }

    pub(super) fn cancel(&self) {
        self.0.iter().for_each(|ordered| ordered.store(false, Ordering::Release));
    }

    /// Whether this piece is the one to be cut.
    pub(super) fn strike(&self, direction: Direction, size: usize) -> bool {
        size >= MESSAGE_MIN && self.0[direction as usize].swap(false, Ordering::AcqRel)
    }
}
