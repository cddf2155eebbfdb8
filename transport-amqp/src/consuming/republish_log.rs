//! Log lines about deliveries that are republished.

use lapin::types::ShortString;
use polywire_core::transport::LogThrottle;
use polywire_core::{Error, Fault};

use crate::wire::{Republish, native};

/// Log of one consumer about the deliveries that are republished.
///
/// Each line stands in a span of its delivery, since the tasks that republish have none. Each kind
/// of line is throttled: its fields and its span are those of the last delivery.
pub(super) struct RepublishLog {
    /// Queue of the originals.
    queue: ShortString,
    uncopied: LogThrottle,
    kept_original: LogThrottle,
    unkept: LogThrottle,
    unpublished: LogThrottle,
    over_limit: LogThrottle,
    declined: LogThrottle,
    held_twice: LogThrottle,
}

impl RepublishLog {
    /// Creates the log for deliveries from `queue`.
    pub(super) fn new(queue: ShortString) -> Self {
        Self {
            queue,
            uncopied: LogThrottle::new(),
            kept_original: LogThrottle::new(),
            unkept: LogThrottle::new(),
            unpublished: LogThrottle::new(),
            over_limit: LogThrottle::new(),
            declined: LogThrottle::new(),
            held_twice: LogThrottle::new(),
        }
    }

    /// Logs a delivery of which the broker takes no copy, and which is dead-lettered.
    pub(super) fn uncopied(&self, copy: &Republish, attempts: u32, error: &Error) {
        if let Some(count) = self.uncopied.note() {
            let queue = &self.queue;
            native::delivery_span(copy, attempts).in_scope(|| {
                tracing::error!(?error, %queue, count, "the broker takes no copy of the delivery; dead-lettering it");
            });
        }
    }

    /// Logs a delivery of which the broker takes no dead letter. `is_kept` says whether the broker
    /// dead-letters the original. If not, the line is the last trace of the delivery, and is
    /// always written.
    pub(super) fn discarded(&self, copy: &Republish, error: &Error, is_kept: bool) {
        let queue = &self.queue;
        let span = native::delivery_span(copy, copy.attempts_made());
        if !is_kept {
            span.in_scope(|| {
                tracing::error!(?error, %queue, "the broker takes no copy of the delivery; discarded it");
            });
        } else if let Some(count) = self.kept_original.note() {
            span.in_scope(|| {
                tracing::error!(?error, %queue, count, "the broker takes no copy of the delivery; it dead-letters the original");
            });
        }
    }

    /// Logs a delivery that cannot wait for its retry, and is dead-lettered.
    pub(super) fn unkept(&self, copy: &Republish, attempts: u32, error: &Error) {
        if let Some(count) = self.unkept.note() {
            let queue = &self.queue;
            native::delivery_span(copy, attempts).in_scope(|| {
                tracing::error!(?error, %queue, count, "cannot keep deliveries for their retries; dead-lettering them");
            });
        }
    }

    /// Logs a delivery that cannot be kept elsewhere now, and is tried again after `pause_s`.
    pub(super) fn unpublished(
        &self,
        copy: &Republish,
        attempts: u32,
        error: &Error,
        (is_lasting, pause_s): (bool, u64),
    ) {
        let Some(count) = self.unpublished.note() else { return };
        let queue = &self.queue;
        native::delivery_span(copy, attempts).in_scope(|| match is_lasting {
            true => {
                tracing::error!(?error, %queue, pause_s, count, "cannot republish deliveries; trying again after a pause");
            }
            // The connection is lost, or the broker is slow.
            false => {
                tracing::warn!(?error, %queue, pause_s, count, "cannot republish deliveries yet; trying again after a pause");
            }
        });
    }

    /// Logs a delivery that a requeue has brought over the limit of its queue.
    pub(super) fn over_limit(&self, copy: &Republish, attempts: u32) {
        if let Some(count) = self.over_limit.note() {
            let queue = &self.queue;
            native::delivery_span(copy, attempts).in_scope(|| {
                tracing::error!(%queue, count, "delivery limit exceeded by a requeue; dead-lettering the delivery");
            });
        }
    }

    /// Logs a channel that was given up before the copies of its deliveries were confirmed.
    pub(super) fn held_twice(&self) {
        if let Some(count) = self.held_twice.note() {
            let queue = &self.queue;
            tracing::warn!(%queue, count, "lost a channel during a redelivery: the broker may hold the message twice");
        }
    }

    /// Logs a one-way call that all servers have declined.
    pub(super) fn declined(&self, copy: &Republish, fault: &Fault) {
        if let Some(count) = self.declined.note() {
            let queue = &self.queue;
            native::delivery_span(copy, copy.attempts_made()).in_scope(|| {
                tracing::warn!(%queue, %fault, count, "no server runs one-way calls");
            });
        }
    }
}
