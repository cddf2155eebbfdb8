//! Spans and log events that a subscriber of `tracing` receives, and the propagation of traces.

use std::sync::Arc;

use polywire_codec::MessagePack;
use polywire_core::middleware::{Layer, LogFailures, Trace, TraceContext};
use polywire_core::{
    Client, Code, Fault, Memory, Publisher, Pusher, Reply, Request, Router, Server, Service,
    Transport, Worker, service_fn,
};

use crate::watching::{listen_everywhere, watch};

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
async fn client_and_server_record_spans_of_one_trace() {
    let (seen, _guard) = watch();
    let client = billing(LogFailures::of("billing")).await;
    let trace_id: Option<String> = client.call("pay", &()).await.unwrap();

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
    assert_eq!(Some(&calling["trace_id"]), trace_id.as_ref());
    assert_eq!(calling["trace_id"], serving["trace_id"]);
    assert_ne!(calling["span_id"], serving["span_id"]);
    assert!(!serving.contains_key("error.type"), "{serving:?}");
}

#[tokio::test]
async fn both_spans_record_a_failure() {
    let (seen, _guard) = watch();
    let client = billing(LogFailures::of("billing")).await;
    client.call::<()>("refund", "NotPaid").await.unwrap_err();
    for span in [seen.span("rpc.client"), seen.span("rpc.server")] {
        assert_eq!(&span["otel.status_code"], "ERROR");
        assert_eq!(&span["error.type"], "Application");
        assert_eq!(&span["polywire.fault"], "NotPaid");
    }
}

#[tokio::test]
async fn trace_in_the_headers_is_continued_and_a_malformed_one_is_not() {
    let client = billing(LogFailures::of("billing")).await;
    let trace = TraceContext::begin();
    let continued =
        client.request("pay").header("traceparent", trace.parent()).call::<Option<String>>(&());
    assert_eq!(continued.await.unwrap(), Some(trace.trace_id()));
    let begun = client.request("pay").header("traceparent", "nonsense").call::<Option<String>>(&());
    assert_eq!(begun.await.unwrap().unwrap().len(), 32);
}

#[tokio::test]
async fn calls_of_a_handler_continue_its_span() {
    let (seen, _guard) = watch();
    let (sender, receiver) = std::sync::mpsc::channel();
    // The handler calls this service through a client without layers.
    let billing = service_fn(move |request: Request| {
        let _ = sender.send(TraceContext::of(&request.message.headers));
        async { Ok(Reply::default()) }
    });
    let billing = Arc::new(Client::new(billing, MessagePack));
    let orders = service_fn(move |_| {
        let billing = billing.clone();
        async move {
            let _ = billing.call::<()>("pay", &()).await;
            Ok(Reply::default())
        }
    });
    let orders = Client::new(Trace::server("orders").layer(orders), MessagePack);
    let trace = TraceContext::begin();
    let _ = trace.scope(orders.call::<()>("create", &())).await;

    let propagated = receiver.recv().unwrap().unwrap();
    assert_eq!(propagated.trace_id(), trace.trace_id());
    assert_eq!(propagated.span_id(), seen.span("rpc.server")["span_id"]);
    assert_ne!(propagated.span_id(), trace.span_id());
}

#[tokio::test]
async fn job_continues_the_trace_of_its_pusher() {
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
async fn receivers_continue_the_spans_of_pushers_and_publishers() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let worker = Worker::bind(&transport, "thumbnails", MessagePack).await.unwrap();
    let handle = worker.handle();
    let router = service_fn(async |_| Ok(Reply::default()));
    tokio::spawn(worker.serve(Trace::worker("thumbnails").layer(router)));
    let pusher = Pusher::connect(&transport, "thumbnails", MessagePack).await.unwrap();
    let pusher = pusher.with_trace(&Trace::pusher("thumbnails").system("memory"));
    let trace = TraceContext::begin();
    trace.scope(pusher.push("cat.jpg")).await.unwrap();
    while handle.stats().done == 0 {
        tokio::task::yield_now().await;
    }
    let (pushed, processed) = (seen.span("messaging.send"), seen.span("messaging.process"));
    for (field, value) in [
        ("otel.name", "push thumbnails"),
        ("otel.kind", "producer"),
        ("messaging.system", "memory"),
        ("messaging.operation.name", "push"),
        ("messaging.operation.type", "send"),
        ("messaging.destination.name", "thumbnails"),
        ("messaging.message.body.size", "8"),
        ("trace_id", &trace.trace_id()),
    ] {
        assert_eq!(pushed[field], value, "{field}");
    }
    assert_eq!(processed["trace_id"], trace.trace_id());
    assert_ne!(pushed["span_id"], processed["span_id"]);
    assert_ne!(pushed["span_id"], trace.span_id());

    let weather = Publisher::connect(&transport, "weather", MessagePack).await.unwrap();
    let weather = weather.with_trace(&Trace::publisher("weather"));
    weather.publish("paris.wind", &7).await.unwrap();
    let spans = seen.spans("messaging.send");
    let published = spans.iter().find(|span| span["otel.name"] == "publish weather").unwrap();
    assert_eq!(
        (&*published["polywire.topic"], &*published["messaging.operation.name"]),
        ("paris.wind", "publish")
    );
    assert_ne!(published["trace_id"], trace.trace_id());
}

#[tokio::test]
async fn span_of_a_failed_push_records_the_failure() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let pusher = Pusher::connect(&transport, "thumbnails", MessagePack).await.unwrap();
    transport.close().await.unwrap();
    pusher.with_trace(&Trace::pusher("thumbnails")).push("cat.jpg").await.unwrap_err();
    let span = seen.span("messaging.send");
    assert_eq!((&*span["otel.status_code"], &*span["error.type"]), ("ERROR", "Closed"));
}

#[tokio::test]
async fn failures_are_logged_at_warn_and_expected_ones_at_debug() {
    let (seen, _guard) = watch();
    let log = LogFailures::of("billing").expect_kind("NotPaid").expect_code(Code::InvalidArguments);
    let client = billing(log).await;
    client.call::<()>("refund", "Broken").await.unwrap_err();
    client.call::<()>("refund", "NotPaid").await.unwrap_err();
    client.call::<()>("refund", &7).await.unwrap_err();
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

#[tokio::test]
async fn failures_of_one_method_take_no_lines_from_those_of_another() {
    let (seen, _guard) = watch();
    let client = billing(LogFailures::of("billing")).await;
    for method in ["missing"; 11].into_iter().chain(["absent"]) {
        client.call::<()>(method, &()).await.unwrap_err();
    }
    let lines = seen.said("failed");
    let methods: Vec<_> = lines.iter().map(|line| &*line["method"]).collect();
    assert_eq!(methods, [vec!["missing"; 10], vec!["absent"]].concat());
}
