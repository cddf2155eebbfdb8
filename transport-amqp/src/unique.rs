//! Numbers that nobody else has.

use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

/// A number that no other process has, nor this one a second time: a random one of the standard
/// library's hasher.
pub(crate) fn unique() -> u128 {
    let half = |salt: u8| {
        u128::from(RandomState::new().hash_one((salt, std::process::id(), SystemTime::now())))
    };
    (half(0) << 64) | half(1)
}
