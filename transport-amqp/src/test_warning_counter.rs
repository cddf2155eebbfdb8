//! Counter of warnings, for unit tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Counter of the lines at `warn`.
#[derive(Clone, Default)]
pub(crate) struct WarningCounter(Arc<AtomicU32>);

impl WarningCounter {
    /// Counts the warnings of this thread until the guard is dropped.
    pub(crate) fn begin() -> (Self, DefaultGuard) {
        let warnings = Self::default();
        let subscriber = tracing_subscriber::registry().with(warnings.clone());
        (warnings, tracing::subscriber::set_default(subscriber))
    }

    /// Returns the number of warnings since the last call.
    pub(crate) fn take(&self) -> u32 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl<S: Subscriber> Layer<S> for WarningCounter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::WARN {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
