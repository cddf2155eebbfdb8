//! Numbers of deliveries, which are never used twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Source of the tags of deliveries. Clones share the count.
///
/// A tag belongs to one delivery for all time. If a broker counted from 1 again on each connection,
/// an outcome that was meant for a lost connection would settle another delivery over the next. So
/// all connections of a broker share one source, and a source begins at a random number, which
/// differs from that of the process before.
///
/// ```
/// use polywire_core::transport::kit::DeliveryTags;
///
/// let tags = DeliveryTags::new();
/// let other_connection = tags.clone();
/// assert_ne!(tags.next_tag(), other_connection.next_tag());
/// ```
#[derive(Clone, Debug)]
pub struct DeliveryTags(Arc<AtomicU64>);

impl DeliveryTags {
    /// Creates a source that begins at a random number.
    #[must_use]
    pub fn new() -> Self {
        // Half of all numbers are left, which no process counts to.
        Self(Arc::new(AtomicU64::new(fastrand::u64(..) >> 1)))
    }

    /// Returns a tag that no clone has returned before.
    #[must_use]
    pub fn next_tag(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Default for DeliveryTags {
    fn default() -> Self {
        Self::new()
    }
}
