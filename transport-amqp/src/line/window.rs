//! What is on its way, and not confirmed.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::bounds::Bounds;

/// Bounds what is written and not confirmed, so that a broker that does not confirm is felt by
/// those who publish.
pub(super) struct Window {
    bounds: Bounds,
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Window {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, messages: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
    }

    pub(super) fn has_room(&self, size: usize) -> bool {
        self.bounds.admit(
            self.messages.load(Ordering::Acquire),
            self.bytes.load(Ordering::Acquire),
            size,
        )
    }

    pub(super) fn enter(&self, size: usize) {
        self.messages.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(size, Ordering::AcqRel);
    }

    pub(super) fn leave(&self, size: usize) {
        self.messages.fetch_sub(1, Ordering::AcqRel);
        self.bytes.fetch_sub(size, Ordering::AcqRel);
    }
}
