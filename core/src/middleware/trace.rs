//! Spans around calls, jobs and events, and traces that go on at the other end.

mod context;
mod propagate;
mod state;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tracing::field::Empty;
use tracing::{Instrument, Span};

pub use self::context::TraceContext;
pub use self::propagate::Propagate;
use super::{Middleware, failure};
use crate::error::{CallError, Result};
use crate::message::{Address, Headers, Message};
use crate::service::{Reply, Request, Service};

/// Puts a `tracing` span around each request, named and filled by OpenTelemetry's conventions for
/// [RPC](https://opentelemetry.io/docs/specs/semconv/rpc/) and
/// [messaging](https://opentelemetry.io/docs/specs/semconv/messaging/), and makes both ends of a call parts of one trace.
///
/// The trace travels as W3C's [`TraceContext`] in the headers `traceparent` and `tracestate`. A
/// client continues the trace of the handler that it is used in, or begins one; a server continues
/// that of its caller. Who has OpenTelemetry set up lets it do that instead:
/// [`propagate`](Self::propagate).
///
/// The fields of the spans stand in `docs/observability.md`. A span that no subscriber asks for
/// costs nothing; the headers are read and written all the same.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{CallError, Client, Memory, Router, Server};
/// use polywire_core::middleware::{Layer, Trace, TraceContext};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// # let transport = Memory::new();
/// let router = Router::new(MessagePack).method("trace", |(): ()| async {
///     Ok(TraceContext::current().map(|trace| trace.trace_id()))
/// });
/// let server = Server::bind(&transport, "billing").await?;
/// tokio::spawn(server.serve(Trace::server("billing").layer(router)));
///
/// let billing = Client::connect(&transport, "billing", MessagePack).await?.layer(&Trace::client("billing"));
/// let trace = TraceContext::begin();
/// let seen: Option<String> = trace.scope(billing.call("trace", &())).await?;
/// assert_eq!(seen, Some(trace.trace_id()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Trace {
    end: End,
    name: Arc<str>,
    system: Arc<str>,
    propagate: Option<Arc<dyn Propagate>>,
}

/// Which end of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Server,
    Worker,
    Listener,
    Pusher,
    Publisher,
}

impl Trace {
    /// For a client of `service`.
    #[must_use]
    pub fn client(service: impl Into<Arc<str>>) -> Self {
        Self::at(End::Client, service.into())
    }

    /// For a server of `service`.
    #[must_use]
    pub fn server(service: impl Into<Arc<str>>) -> Self {
        Self::at(End::Server, service.into())
    }

    /// For a worker of `queue`.
    #[must_use]
    pub fn worker(queue: impl Into<Arc<str>>) -> Self {
        Self::at(End::Worker, queue.into())
    }

    /// For a listener to `channel`.
    #[must_use]
    pub fn listener(channel: impl Into<Arc<str>>) -> Self {
        Self::at(End::Listener, channel.into())
    }

    /// For a pusher into `queue`, which takes it by
    /// [`Pusher::with_trace`](crate::Pusher::with_trace).
    #[must_use]
    pub fn pusher(queue: impl Into<Arc<str>>) -> Self {
        Self::at(End::Pusher, queue.into())
    }

    /// For a publisher on `channel`, which takes it by
    /// [`Publisher::with_trace`](crate::Publisher::with_trace).
    #[must_use]
    pub fn publisher(channel: impl Into<Arc<str>>) -> Self {
        Self::at(End::Publisher, channel.into())
    }

    fn at(end: End, name: Arc<str>) -> Self {
        Self { end, name, system: "polywire".into(), propagate: None }
    }

    /// What carries the messages: `rabbitmq`, for instance. It stands in `messaging.system`. The
    /// default is `polywire`.
    #[must_use]
    pub fn system(self, system: impl Into<Arc<str>>) -> Self {
        Self { system: system.into(), ..self }
    }

    /// Hands traces on by this, instead of by [`TraceContext`].
    #[must_use]
    pub fn propagate(self, propagate: impl Propagate) -> Self {
        Self { propagate: Some(Arc::new(propagate)), ..self }
    }

    fn span(&self, request: &Request) -> Span {
        match self.end {
            End::Client => self.client_span(request),
            End::Server => self.server_span(request),
            End::Worker | End::Listener => self.process_span(request),
            End::Pusher | End::Publisher => self.send_span(&request.message),
        }
    }

    fn client_span(&self, request: &Request) -> Span {
        let (service, method) = (&*self.name, Named(request.message.method.as_ref()));
        tracing::info_span!(
            "rpc.client", "otel.name" = %format_args!("{service}/{method}"), "otel.kind" = "client", "otel.status_code" = Empty,
            "rpc.system" = "polywire", "rpc.service" = service, "rpc.method" = %method, "error.type" = Empty,
            "polywire.fault" = Empty, trace_id = Empty, span_id = Empty,
        )
    }

    fn server_span(&self, request: &Request) -> Span {
        let (service, method) = (&*self.name, Named(request.message.method.as_ref()));
        tracing::info_span!(
            "rpc.server", "otel.name" = %format_args!("{service}/{method}"), "otel.kind" = "server", "otel.status_code" = Empty,
            "rpc.system" = "polywire", "rpc.service" = service, "rpc.method" = %method, "error.type" = Empty,
            "polywire.fault" = Empty, "polywire.attempt" = request.attempt, trace_id = Empty, span_id = Empty,
        )
    }

    fn process_span(&self, request: &Request) -> Span {
        let message = &request.message;
        let topic = message.topic.as_ref().map(tracing::field::display);
        tracing::info_span!(
            "messaging.process", "otel.name" = %format_args!("process {}", self.name), "otel.kind" = "consumer",
            "otel.status_code" = Empty, "messaging.system" = &*self.system, "messaging.operation.name" = "process",
            "messaging.operation.type" = "process", "messaging.destination.name" = &*self.name,
            "messaging.message.body.size" = message.body.len(), "polywire.topic" = topic, "error.type" = Empty,
            "polywire.fault" = Empty, "polywire.attempt" = request.attempt, trace_id = Empty, span_id = Empty,
        )
    }

    fn send_span(&self, message: &Message) -> Span {
        let operation = if self.end == End::Publisher { "publish" } else { "push" };
        let topic = message.topic.as_ref().map(tracing::field::display);
        tracing::info_span!(
            "messaging.send", "otel.name" = %format_args!("{operation} {}", self.name), "otel.kind" = "producer",
            "otel.status_code" = Empty, "messaging.system" = &*self.system, "messaging.operation.name" = operation,
            "messaging.operation.type" = "send", "messaging.destination.name" = &*self.name,
            "messaging.message.body.size" = message.body.len(), "polywire.topic" = topic, "error.type" = Empty,
            trace_id = Empty, span_id = Empty,
        )
    }

    /// Hands a job or an event over by `send`, within a span of its own that the other end goes on
    /// from.
    pub(crate) async fn around<F>(
        &self,
        mut message: Message,
        send: impl FnOnce(Message) -> F,
    ) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        let span = self.send_span(&message);
        match &self.propagate {
            Some(propagate) => propagate.inject(&span, &mut message.headers),
            None => Self::continue_trace(&mut message.headers, &span),
        }
        let sent = send(message).instrument(span.clone()).await;
        if let (Err(error), false) = (&sent, span.is_disabled()) {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", tracing::field::debug(error.kind()));
        }
        sent
    }

    /// Makes the span a part of the trace that the headers speak of, be it the caller's or that of
    /// the handler that the call is made in, and says in the headers where that is.
    fn continue_trace(headers: &mut Headers, span: &Span) {
        let parent = TraceContext::of(headers).or_else(TraceContext::current);
        let here = parent.map_or_else(TraceContext::begin, |parent| parent.child());
        here.inject(headers);
        if !span.is_disabled() {
            span.record("trace_id", here.trace_id());
            span.record("span_id", here.span_id());
        }
    }
}

impl Middleware for Trace {
    async fn call<S: Service>(&self, mut request: Request, next: &S) -> Result<Reply, CallError> {
        let span = self.span(&request);
        let headers = &mut request.message.headers;
        match (&self.propagate, self.end) {
            (None, _) => Self::continue_trace(headers, &span),
            (Some(propagate), End::Client | End::Pusher | End::Publisher) => {
                propagate.inject(&span, headers)
            }
            (Some(propagate), _) => propagate.extract(headers, &span),
        }
        let outcome = if self.end == End::Client {
            next.call(request).instrument(span.clone()).await
        } else {
            // What the handler calls is a part of this span, not beside it.
            let context = request.context();
            context.carry(next.call(request).instrument(span.clone())).await
        };
        record(&span, &outcome);
        outcome
    }
}

fn record(span: &Span, outcome: &Result<Reply, CallError>) {
    if span.is_disabled() {
        return;
    }
    let Some(kind) = failure::kind(outcome) else { return };
    span.record("otel.status_code", "ERROR");
    span.record("error.type", &*kind);
    if let Some(fault) = failure::fault(outcome) {
        span.record("polywire.fault", &*fault.kind);
    }
}

/// The name of a method, or a dash for none.
#[derive(Clone, Copy)]
struct Named<'a>(Option<&'a Address>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.map_or("-", Address::as_str))
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("end", &self.end)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
