//! Unique numbers.

use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

/// Returns a random number of 128 bits, from the seed of the standard library's hasher. No other
/// process returns the same number, and this process returns it once.
pub(crate) fn unique() -> u128 {
    let half = |salt: u8| {
        u128::from(RandomState::new().hash_one((salt, std::process::id(), SystemTime::now())))
    };
    (half(0) << 64) | half(1)
}
