//! Recorder of log lines, for unit tests.

use std::fmt;
use std::sync::{Arc, Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Recorded log lines, each as its level and its message.
#[derive(Clone, Default)]
pub(crate) struct RecordedLog(Arc<Mutex<Vec<String>>>);

impl RecordedLog {
    /// Records the lines of this thread until the guard is dropped.
    pub(crate) fn begin() -> (Self, DefaultGuard) {
        static LISTENING: Once = Once::new();
        // Without a global subscriber, a test without a recorder could disable a call site for a
        // concurrent test with one: `tracing` caches for each call site if a subscriber listens.
        LISTENING.call_once(|| {
            let set = tracing::subscriber::set_global_default(tracing_subscriber::registry());
            assert!(set.is_ok(), "no other test sets the subscriber of the process");
        });
        let log = Self::default();
        let registry = tracing_subscriber::registry().with(log.clone());
        (log, tracing::subscriber::set_default(registry))
    }

    /// Returns the recorded lines, as in `WARN cannot start yet`, and forgets them.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber> Layer<S> for RecordedLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let line = format!("{} {}", event.metadata().level(), message.0);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// The message of an event, without its fields.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
