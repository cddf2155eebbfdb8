//! How another tracing system hands its traces on.

use tracing::Span;

use crate::message::Headers;

/// Hands traces from one end of a call to the other by somebody else's means: OpenTelemetry's
/// propagators, for instance. `examples/otlp` has an implementation in a few lines.
pub trait Propagate: Send + Sync + 'static {
    /// Writes where `span` is in its trace into the headers of a request that goes out.
    fn inject(&self, span: &Span, headers: &mut Headers);

    /// Makes `span` a part of the trace that the headers of a request speak of. Headers come from a
    /// stranger: what cannot be read is ignored.
    fn extract(&self, headers: &Headers, span: &Span);
}
