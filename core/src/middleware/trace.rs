//! Spans of calls, jobs and events.

mod context;
mod foreign_propagator;
mod span;
mod tracestate_syntax;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tracing::{Instrument, Span};

pub use self::context::TraceContext;
pub use self::foreign_propagator::Propagate;
use super::stopped_call_guard::OnStop;
use super::{Middleware, outcome_classification};
use crate::error::{CallError, Result};
use crate::handler_stop_reason::StopReason;
use crate::message::{Headers, Message};
use crate::service::{Reply, Request, Service};
use crate::worker::failed_in;

/// Middleware that records a `tracing` span for each request, by OpenTelemetry's conventions for
/// [RPC](https://opentelemetry.io/docs/specs/semconv/rpc/) and
/// [messaging](https://opentelemetry.io/docs/specs/semconv/messaging/).
///
/// Client and server record spans of one trace. The trace travels as W3C's [`TraceContext`] in the
/// headers `traceparent` and `tracestate`. A client continues the trace of the running handler, or
/// begins a trace; a server continues the trace of its client. With
/// [`propagate`](Self::propagate), OpenTelemetry or another system propagates the traces instead.
///
/// `docs/observability.md` lists the fields of the spans. A span that no subscriber records costs
/// nothing; the headers are read and written in any case.
///
/// Place it outermost. The span of a handler that is stopped, or of a call that its caller drops,
/// has the `error.type` `DeadlineExceeded`, `Cancelled` or `Drained`.
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
/// let billing = Client::connect(&transport, "billing", MessagePack).await?;
/// let billing = billing.layer(&Trace::client("billing"));
/// let trace = TraceContext::begin();
/// let seen: Option<String> = trace.scope(billing.call("trace", &())).await?;
/// assert_eq!(seen, Some(trace.trace_id()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Trace {
    kind: EndpointKind,
    name: Arc<str>,
    system: Arc<str>,
    propagate: Option<Arc<dyn Propagate>>,
}

/// Kind of the traced endpoint handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndpointKind {
    Client,
    Server,
    Worker,
    Listener,
    Pusher,
    Publisher,
}

impl Trace {
    /// Creates a middleware for a client of `service`.
    #[must_use]
    pub fn client(service: impl Into<Arc<str>>) -> Self {
        Self::new(EndpointKind::Client, service.into())
    }

    /// Creates a middleware for a server of `service`.
    #[must_use]
    pub fn server(service: impl Into<Arc<str>>) -> Self {
        Self::new(EndpointKind::Server, service.into())
    }

    /// Creates a middleware for a worker of `queue`.
    #[must_use]
    pub fn worker(queue: impl Into<Arc<str>>) -> Self {
        Self::new(EndpointKind::Worker, queue.into())
    }

    /// Creates a middleware for a listener of `channel`.
    #[must_use]
    pub fn listener(channel: impl Into<Arc<str>>) -> Self {
        Self::new(EndpointKind::Listener, channel.into())
    }

    /// Creates the tracing of a pusher to `queue`, for
    /// [`Pusher::with_trace`](crate::Pusher::with_trace).
    #[must_use]
    pub fn pusher(queue: impl Into<Arc<str>>) -> Self {
        Self::new(EndpointKind::Pusher, queue.into())
    }

    /// Creates the tracing of a publisher to `channel`, for
    /// [`Publisher::with_trace`](crate::Publisher::with_trace).
    #[must_use]
    pub fn publisher(channel: impl Into<Arc<str>>) -> Self {
        Self::new(EndpointKind::Publisher, channel.into())
    }

    fn new(kind: EndpointKind, name: Arc<str>) -> Self {
        Self { kind, name, system: "polywire".into(), propagate: None }
    }

    /// Sets the field `messaging.system`, for instance to `rabbitmq`. The default is `polywire`.
    #[must_use]
    pub fn system(self, system: impl Into<Arc<str>>) -> Self {
        Self { system: system.into(), ..self }
    }

    /// Propagates traces with `propagate` instead of [`TraceContext`].
    #[must_use]
    pub fn propagate(self, propagate: impl Propagate) -> Self {
        Self { propagate: Some(Arc::new(propagate)), ..self }
    }

    fn span(&self, request: &Request) -> Span {
        match self.kind {
            EndpointKind::Client => span::client(&self.name, request),
            EndpointKind::Server => span::server(&self.name, request),
            EndpointKind::Worker | EndpointKind::Listener => {
                span::process(&self.system, &self.name, request)
            }
            EndpointKind::Pusher | EndpointKind::Publisher => self.send_span(&request.message),
        }
    }

    fn send_span(&self, message: &Message) -> Span {
        let operation = if self.kind == EndpointKind::Publisher { "publish" } else { "push" };
        span::send(&self.system, &self.name, operation, message)
    }

    /// Sends a job or an event with `send`, in a span that the receiver's span continues.
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

    /// Makes `span` continue the trace of the headers or of the running handler, and writes the
    /// context of `span` into the headers.
    fn continue_trace(headers: &mut Headers, span: &Span) {
        let parent = TraceContext::of(headers).or_else(TraceContext::current);
        let context = parent.map_or_else(TraceContext::begin, |parent| parent.child());
        context.inject(headers);
        if !span.is_disabled() {
            span.record("trace_id", context.trace_id());
            span.record("span_id", context.span_id());
        }
    }
}

impl Middleware for Trace {
    async fn call<S: Service>(&self, mut request: Request, next: &S) -> Result<Reply, CallError> {
        let span = self.span(&request);
        let is_client = self.kind == EndpointKind::Client;
        let headers = &mut request.message.headers;
        match (&self.propagate, self.kind) {
            // A server without a span passes the trace of its caller on as it is.
            (None, _) if !is_client && span.is_disabled() && TraceContext::is_in(headers) => {}
            (None, _) => Self::continue_trace(headers, &span),
            (
                Some(propagate),
                EndpointKind::Client | EndpointKind::Pusher | EndpointKind::Publisher,
            ) => propagate.inject(&span, headers),
            (Some(propagate), _) => propagate.extract(headers, &span),
        }
        let on_stop = OnStop::new(&request, |reason| record_stop(&span, reason, is_client));
        let result = if !is_client && !request.has_current_context() {
            // The handler runs with the changed headers, so that its calls continue this span.
            let context = request.context();
            context.carry(next.call(request).instrument(span.clone())).await
        } else if span.is_disabled() {
            next.call(request).await
        } else {
            next.call(request).instrument(span.clone()).await
        };
        on_stop.disarm();
        if record(&span, &result) && !is_client {
            failed_in(&span);
        }
        result
    }

    fn waits_for_next_only(&self) -> bool {
        true
    }
}

/// Records the outcome of a call. Returns `true` if the call has failed.
fn record(span: &Span, result: &Result<Reply, CallError>) -> bool {
    if span.is_disabled() {
        return false;
    }
    let Some(kind) = outcome_classification::kind(result) else { return false };
    span.record("otel.status_code", "ERROR");
    span.record("error.type", &*kind);
    if let Some(fault) = outcome_classification::fault(result) {
        span.record("polywire.fault", &*fault.kind);
    }
    true
}

/// Records that a call was dropped. For a handler, a caller that cancels is no error.
fn record_stop(span: &Span, reason: &'static str, is_client: bool) {
    if is_client || reason != StopReason::Cancelled.as_str() {
        span.record("otel.status_code", "ERROR");
    }
    span.record("error.type", reason);
    if !is_client {
        failed_in(span);
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
