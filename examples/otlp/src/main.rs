//! Traces of calls, sent to an OpenTelemetry collector by OTLP over HTTP.
//!
//! ```text
//! docker run --rm -p 4318:4318 -p 16686:16686 jaegertracing/jaeger        shows them at http://localhost:16686
//! cargo run -p polywire-example-otlp                                      or: -- http://collector:4318/v1/traces
//! ```

use std::error::Error;

use opentelemetry::global;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use polywire::middleware::{Layer, Propagate, Trace};
use polywire::{CallError, Client, Code, Fault, Headers, Memory, MessagePack, Router, Server};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Propagates traces by the global propagator of OpenTelemetry.
struct OpenTelemetry;

impl Propagate for OpenTelemetry {
    fn inject(&self, span: &Span, headers: &mut Headers) {
        let context = span.context();
        global::get_text_map_propagator(|it| it.inject_context(&context, &mut Outgoing(headers)));
    }

    fn extract(&self, headers: &Headers, span: &Span) {
        let parent = global::get_text_map_propagator(|it| it.extract(&Incoming(headers)));
        // Fails only if no OpenTelemetry layer is installed or the span has started. The span then
        // begins a trace of its own.
        let _ = span.set_parent(parent);
    }
}

struct Outgoing<'a>(&'a mut Headers);

impl Injector for Outgoing<'_> {
    fn set(&mut self, name: &str, value: String) {
        self.0.insert(name, value);
    }
}

struct Incoming<'a>(&'a Headers);

impl Extractor for Incoming<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| &**name).collect()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let url =
        std::env::args().nth(1).unwrap_or_else(|| "http://localhost:4318/v1/traces".to_owned());
    // The exporter blocks a thread of its own, so it is created and shut down outside of the
    // runtime.
    let exporter = SpanExporter::builder().with_http().with_endpoint(&url).build()?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name("polywire-example").build())
        .build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    tracing_subscriber::registry()
        .with(tracing_subscriber::filter::LevelFilter::INFO)
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("polywire")))
        .init();

    tokio::runtime::Runtime::new()?.block_on(call())?;
    provider.shutdown()?;
    println!("sent to {url}");
    Ok(())
}

/// Calls a shop, which calls a bank; the bank fails the second call.
async fn call() -> Result<(), CallError> {
    let transport = Memory::new();
    let bank = Router::new(MessagePack).method("charge", async |cents: u64| match cents {
        0..=100 => Ok(()),
        _ => Err(Fault::new(Code::Application, "not that much").with_kind("NoCredit")),
    });
    let server = Server::bind(&transport, "bank").await?;
    tokio::spawn(server.serve(Trace::server("bank").propagate(OpenTelemetry).layer(bank)));

    let bank = Client::connect(&transport, "bank", MessagePack)
        .await?
        .layer(&Trace::client("bank").propagate(OpenTelemetry));
    let shop = Router::new(MessagePack).method("order", move |cents: u64| {
        let bank = bank.clone();
        async move {
            let charged = bank.call::<()>("charge", &cents).await;
            charged.map_err(|error| Fault::new(Code::Application, error.to_string()))
        }
    });
    let server = Server::bind(&transport, "shop").await?;
    tokio::spawn(server.serve(Trace::server("shop").propagate(OpenTelemetry).layer(shop)));

    let shop = Client::connect(&transport, "shop", MessagePack)
        .await?
        .layer(&Trace::client("shop").propagate(OpenTelemetry));
    for cents in [99, 101] {
        let outcome = shop.call::<()>("order", &cents).await;
        println!("an order of {cents} cents: {}", if outcome.is_ok() { "done" } else { "refused" });
    }
    Ok(())
}
