//! What a subscriber of `tracing` sees, and how a trace goes on.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, Once};

use polywire_codec::MessagePack;
use polywire_core::middleware::{Layer, LogFailures, Trace, TraceContext};
use polywire_core::{
    Client, Code, Fault, Memory, Pusher, Reply, Request, Router, Server, Service, Worker, service_fn,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};

type Fields = HashMap<&'static str, String>;

/// Remembers spans and events, with their fields.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Notes>>);

/// Spans by their number, and events.
type Notes = (HashMap<u64, Fields>, Vec<Fields>);

impl Seen {
    fn spans(&self, name: &str) -> Vec<Fields> {
        let seen = self.0.lock().unwrap();
        seen.0.values().filter(|fields| fields["name"] == name).cloned().collect()
    }

    fn span(&self, name: &str) -> Fields {
        let mut spans = self.spans(name);
        assert_eq!(spans.len(), 1, "{spans:?}");
        spans.remove(0)
    }

    fn events(&self) -> Vec<Fields> {
        self.0.lock().unwrap().1.clone()
    }
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Seen {
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

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::from([("level", event.metadata().level().to_string())]);
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

/// Everything of this thread is seen while the guard lives.
fn watch() -> (Seen, tracing::subscriber::DefaultGuard) {
    listen_everywhere();
    let seen = Seen::default();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(seen.clone()));
    (seen, guard)
}

/// Has somebody listen in every thread. Whether anybody does is remembered for each place that tells something, by who
/// comes there first: without, a test that watches nothing could silence it for one beside it that does.
fn listen_everywhere() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap());
}

async fn billing(log: LogFailures) -> Client<MessagePack, impl Service + Clone> {
    listen_everywhere();
    let transport = Memory::new();
    let router = Router::new(MessagePack)
        .method("pay", async |(): ()| Ok(TraceContext::current().map(|trace| trace.trace_id())))
        .method("refund", async |kind: String| {
            Err::<(), _>(Fault::new(Code::Application, "nothing was paid").with_kind(kind))
        });
    let server = Server::bind(&transport, "billing").await.unwrap();
    tokio::spawn(server.serve(Trace::server("billing").layer(log.layer(router))));
    let client = Client::connect(&transport, "billing", MessagePack).await.unwrap();
    client.layer(&Trace::client("billing"))
}

#[tokio::test]
async fn both_ends_of_a_call_have_spans_in_one_trace() {
    let (seen, _guard) = watch();
    let client = billing(LogFailures::of("billing")).await;
    let told: Option<String> = client.call("pay", &()).await.unwrap();

    let (calling, serving) = (seen.span("rpc.client"), seen.span("rpc.server"));
    for (field, value) in [
        ("otel.name", "billing/pay"),
        ("rpc.system", "polywire"),
        ("rpc.service", "billing"),
        ("rpc.method", "pay"),
    ] {
        assert_eq!((&*calling[field], &*serving[field]), (value, value), "{field}");
    }
    assert_eq!((&*calling["otel.kind"], &*serving["otel.kind"]), ("client", "server"));
    assert_eq!(Some(&calling["trace_id"]), told.as_ref());
    assert_eq!(calling["trace_id"], serving["trace_id"]);
    assert_ne!(calling["span_id"], serving["span_id"]);
    assert!(!serving.contains_key("error.type"), "{serving:?}");
}

#[tokio::test]
async fn failure_stands_in_both_spans() {
    let (seen, _guard) = watch();
    let client = billing(LogFailures::of("billing")).await;
    client.call::<_, ()>("refund", "NotPaid").await.unwrap_err();
    for span in [seen.span("rpc.client"), seen.span("rpc.server")] {
        assert_eq!(&span["otel.status_code"], "ERROR");
        assert_eq!(&span["error.type"], "Application");
        assert_eq!(&span["polywire.fault"], "NotPaid");
    }
}

#[tokio::test]
async fn caller_that_says_its_trace_is_continued_and_nonsense_is_not() {
    let client = billing(LogFailures::of("billing")).await;
    let trace = TraceContext::begin();
    let continued =
        client.request("pay").header("traceparent", trace.parent()).call::<_, Option<String>>(&());
    assert_eq!(continued.await.unwrap(), Some(trace.trace_id()));
    let begun = client.request("pay").header("traceparent", "nonsense").call::<_, Option<String>>(&());
    assert_eq!(begun.await.unwrap().unwrap().len(), 32);
}

#[tokio::test]
async fn what_a_handler_calls_is_a_part_of_its_span() {
    let (seen, _guard) = watch();
    let (tell, told) = std::sync::mpsc::channel();
    // The service that the handler calls, by a client without layers.
    let billing = service_fn(move |request: Request| {
        let _ = tell.send(TraceContext::of(&request.message.headers));
        async { Ok(Reply::default()) }
    });
    let billing = Arc::new(Client::new(billing, MessagePack));
    let orders = service_fn(move |_| {
        let billing = billing.clone();
        async move {
            let _ = billing.call::<_, ()>("pay", &()).await;
            Ok(Reply::default())
        }
    });
    let orders = Client::new(Trace::server("orders").layer(orders), MessagePack);
    let trace = TraceContext::begin();
    let _ = trace.scope(orders.call::<_, ()>("create", &())).await;

    let passed_on = told.recv().unwrap().unwrap();
    assert_eq!(passed_on.trace_id(), trace.trace_id());
    assert_eq!(passed_on.span_id(), seen.span("rpc.server")["span_id"]);
    assert_ne!(passed_on.span_id(), trace.span_id());
}

#[tokio::test]
async fn job_is_a_span_in_the_trace_of_its_pusher() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let worker = Worker::bind(&transport, "thumbnails", MessagePack).await.unwrap();
    let handle = worker.handle();
    let router = service_fn(async |_| Ok(Reply::default()));
    tokio::spawn(worker.serve(Trace::worker("thumbnails").system("memory").layer(router)));
    let trace = TraceContext::begin();
    let pusher = Pusher::connect(&transport, "thumbnails", MessagePack).await.unwrap();
    trace.scope(pusher.push("cat.jpg")).await.unwrap();
    while handle.stats().done == 0 {
        tokio::task::yield_now().await;
    }
    let span = seen.span("messaging.process");
    assert_eq!(&span["otel.name"], "process thumbnails");
    assert_eq!(&span["otel.kind"], "consumer");
    assert_eq!(&span["messaging.system"], "memory");
    assert_eq!(&span["messaging.destination.name"], "thumbnails");
    assert_eq!(span["trace_id"], trace.trace_id());
}

#[tokio::test]
async fn failures_are_logged_but_for_those_that_are_expected() {
    let (seen, _guard) = watch();
    let log = LogFailures::of("billing").expect_kind("NotPaid").expect_code(Code::InvalidArguments);
    let client = billing(log).await;
    client.call::<_, ()>("refund", "Broken").await.unwrap_err();
    client.call::<_, ()>("refund", "NotPaid").await.unwrap_err();
    client.call::<_, ()>("refund", &7).await.unwrap_err();
    let failures: Vec<_> = seen
        .events()
        .into_iter()
        .filter(|event| event["message"].starts_with("failed"))
        .map(|event| (event["level"].clone(), event["method"].clone(), event["fault"].clone()))
        .collect();
    let line = |level: &str, fault: &str| (level.to_owned(), "refund".to_owned(), fault.to_owned());
    assert_eq!(
        failures,
        [line("WARN", "Broken"), line("DEBUG", "NotPaid"), line("DEBUG", "InvalidArguments")]
    );
}
