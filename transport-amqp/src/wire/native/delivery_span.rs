//! The span in which the log lines about a republished delivery stand.

use lapin::BasicProperties;
use lapin::types::ShortString;
use polywire_core::middleware::TraceContext;
use tracing::Span;

use super::headers::text;
use super::properties::id_for_receiver;
use crate::wire::Republish;

/// Returns the span of a delivery at which `attempt` attempts were made. The name and the fields
/// are those of the span in which core logs about a delivery.
pub(crate) fn delivery_span(copy: &Republish, attempt: u32) -> Span {
    let properties = &copy.properties;
    // At this level, so that the span is there whenever a line is.
    tracing::error_span!(
        "polywire.delivery",
        method = properties.kind().as_ref().map(ShortString::as_str),
        topic = copy.topic.as_ref().map(display),
        message_id = id_for_receiver(properties).map(display),
        attempt,
        trace_id = trace_id(properties),
    )
}

/// Returns the trace id that the sender gave.
fn trace_id(properties: &BasicProperties) -> Option<String> {
    let headers = properties.headers().as_ref()?.inner();
    let parent = text(headers.get(TraceContext::PARENT)?)?.ok()?;
    TraceContext::parse(&parent).map(|trace| trace.trace_id())
}
