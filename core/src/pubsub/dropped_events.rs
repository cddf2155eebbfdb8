//! Counter of dropped events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::message::Address;

/// Counter of the events that one subscriber was too slow for. With the feature `metrics` it also
/// increments `polywire_events_dropped_total`.
#[derive(Clone)]
pub(super) struct DroppedEvents {
    count: Arc<AtomicU64>,
    #[cfg(feature = "metrics")]
    metric: metrics::Counter,
}

impl DroppedEvents {
    pub(super) fn new(
        #[cfg_attr(not(feature = "metrics"), expect(unused))] channel: &Address,
    ) -> Self {
        Self {
            count: Arc::default(),
            #[cfg(feature = "metrics")]
            metric: metrics::counter!(
                "polywire_events_dropped_total",
                "name" => channel.to_string()
            ),
        }
    }

    /// Counts a dropped event.
    pub(super) fn note(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        self.metric.increment(1);
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
