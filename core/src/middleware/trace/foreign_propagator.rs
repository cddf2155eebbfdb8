//! Trace propagation by another tracing system.

use tracing::Span;

use crate::message::Headers;

/// Propagator of traces between clients and servers, for another tracing system such as
/// OpenTelemetry. `examples/otlp` contains a short implementation.
pub trait Propagate: Send + Sync + 'static {
    /// Writes the trace context of `span` into the headers of an outgoing request.
    fn inject(&self, span: &Span, headers: &mut Headers);

    /// Makes `span` continue the trace in the headers of an arriving request. Headers come from an
    /// untrusted peer; the implementation ignores malformed ones.
    fn extract(&self, headers: &Headers, span: &Span);
}
