//! Spans and their fields, by OpenTelemetry's conventions.

use std::fmt;

use tracing::Span;
use tracing::field::{Empty, display};

use crate::message::{Address, Message};
use crate::service::Request;

/// Creates the span of a call at its client.
pub(super) fn client(service: &str, request: &Request) -> Span {
    let method = MethodName(request.message.method.as_ref());
    tracing::info_span!(
        "rpc.client",
        "otel.name" = %format_args!("{service}/{method}"),
        "otel.kind" = "client",
        "otel.status_code" = Empty,
        "rpc.system" = "polywire",
        "rpc.service" = service,
        "rpc.method" = %method,
        "error.type" = Empty,
        "polywire.fault" = Empty,
        "polywire.message_id" = request.message.message_id.as_ref().map(display),
        trace_id = Empty,
        span_id = Empty,
    )
}

/// Creates the span of a call at its server.
pub(super) fn server(service: &str, request: &Request) -> Span {
    let method = MethodName(request.message.method.as_ref());
    tracing::info_span!(
        "rpc.server",
        "otel.name" = %format_args!("{service}/{method}"),
        "otel.kind" = "server",
        "otel.status_code" = Empty,
        "rpc.system" = "polywire",
        "rpc.service" = service,
        "rpc.method" = %method,
        "error.type" = Empty,
        "polywire.fault" = Empty,
        "polywire.attempt" = request.attempt,
        "polywire.message_id" = request.known_message_id().as_ref().map(display),
        trace_id = Empty,
        span_id = Empty,
    )
}

/// Creates the span of a job or event at its worker or listener.
pub(super) fn process(system: &str, destination: &str, request: &Request) -> Span {
    let message = &request.message;
    let (topic, method) =
        (message.topic.as_ref().map(display), message.method.as_ref().map(display));
    tracing::info_span!(
        "messaging.process",
        "otel.name" = %format_args!("process {destination}"),
        "otel.kind" = "consumer",
        "otel.status_code" = Empty,
        "messaging.system" = system,
        "messaging.operation.name" = "process",
        "messaging.operation.type" = "process",
        "messaging.destination.name" = destination,
        "messaging.message.id" = message.message_id.as_ref().map(display),
        "messaging.message.body.size" = message.body.len(),
        "polywire.topic" = topic,
        "polywire.method" = method,
        "error.type" = Empty,
        "polywire.fault" = Empty,
        "polywire.attempt" = request.attempt,
        trace_id = Empty,
        span_id = Empty,
    )
}

/// Creates the span of a job or event at its pusher or publisher; `operation` is `push` or
/// `publish`.
pub(super) fn send(system: &str, destination: &str, operation: &str, message: &Message) -> Span {
    let topic = message.topic.as_ref().map(display);
    tracing::info_span!(
        "messaging.send",
        "otel.name" = %format_args!("{operation} {destination}"),
        "otel.kind" = "producer",
        "otel.status_code" = Empty,
        "messaging.system" = system,
        "messaging.operation.name" = operation,
        "messaging.operation.type" = "send",
        "messaging.destination.name" = destination,
        "messaging.message.id" = message.message_id.as_ref().map(display),
        "messaging.message.body.size" = message.body.len(),
        "polywire.topic" = topic,
        "error.type" = Empty,
        trace_id = Empty,
        span_id = Empty,
    )
}

/// Name of a method, displayed as a dash if there is none.
#[derive(Clone, Copy)]
struct MethodName<'a>(Option<&'a Address>);

impl fmt::Display for MethodName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.map_or("-", Address::as_str))
    }
}
