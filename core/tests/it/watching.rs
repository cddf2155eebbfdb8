//! Recorder of spans and events of `tracing`.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

pub(crate) type Fields = HashMap<&'static str, String>;

/// Recorded spans and events with their fields.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Notes>>);

/// Spans by their ids, and events.
type Notes = (HashMap<u64, Fields>, Vec<Fields>);

impl Seen {
    pub(crate) fn spans(&self, name: &str) -> Vec<Fields> {
        let seen = self.0.lock().unwrap();
        seen.0.values().filter(|fields| fields["name"] == name).cloned().collect()
    }

    pub(crate) fn span(&self, name: &str) -> Fields {
        let mut spans = self.spans(name);
        assert_eq!(spans.len(), 1, "{spans:?}");
        spans.remove(0)
    }

    pub(crate) fn events(&self) -> Vec<Fields> {
        self.0.lock().unwrap().1.clone()
    }

    /// Returns the span that an event stands in.
    pub(crate) fn span_of(&self, event: &Fields) -> Fields {
        self.0.lock().unwrap().0[&event["span"].parse().unwrap()].clone()
    }

    /// Returns the events with this message.
    pub(crate) fn said(&self, message: &str) -> Vec<Fields> {
        self.events().into_iter().filter(|event| event["message"] == message).collect()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Seen {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let mut fields = Fields::from([("name", attributes.metadata().name().to_owned())]);
        attributes.record(&mut Visitor(&mut fields));
        self.0.lock().unwrap().0.insert(id.into_u64(), fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some(fields) = self.0.lock().unwrap().0.get_mut(&id.into_u64()) {
            values.record(&mut Visitor(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let (level, target) = (event.metadata().level().to_string(), event.metadata().target());
        let mut fields = Fields::from([("level", level), ("target", target.to_owned())]);
        if let Some(span) = context.lookup_current() {
            fields.insert("span", span.id().into_u64().to_string());
        }
        event.record(&mut Visitor(&mut fields));
        self.0.lock().unwrap().1.push(fields);
    }
}

struct Visitor<'a>(&'a mut Fields);

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

/// Records all spans and events of this thread until the guard is dropped.
pub(crate) fn watch() -> (Seen, tracing::subscriber::DefaultGuard) {
    watch_at(LevelFilter::TRACE)
}

/// Records the spans and events of this thread up to a level until the guard is dropped.
pub(crate) fn watch_at(level: LevelFilter) -> (Seen, tracing::subscriber::DefaultGuard) {
    listen_everywhere();
    let seen = Seen::default();
    let registry = tracing_subscriber::registry().with(level).with(seen.clone());
    (seen, tracing::subscriber::set_default(registry))
}

/// Installs a global subscriber for all threads.
///
/// `tracing` caches for each call site whether a subscriber is interested. Without a global
/// subscriber, a test without a recorder could disable a call site for a concurrent test with one.
pub(crate) fn listen_everywhere() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
    });
}
