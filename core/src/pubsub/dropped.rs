//! How many events a subscriber has missed because it was too slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::message::Address;

/// The count of one subscriber, which is also told to the recorder of the `metrics` facade, if
/// there is that.
#[derive(Clone)]
pub(super) struct Dropped {
    count: Arc<AtomicU64>,
    #[cfg(feature = "metrics")]
    told: metrics::Counter,
}

impl Dropped {
    pub(super) fn of(
        #[cfg_attr(not(feature = "metrics"), expect(unused))] channel: &Address,
    ) -> Self {
        Self {
            count: Arc::default(),
            #[cfg(feature = "metrics")]
            told: metrics::counter!("polywire_events_dropped_total", "name" => channel.to_string()),
        }
    }

    pub(super) fn note(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        self.told.increment(1);
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
