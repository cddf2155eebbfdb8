//! Errors of the engine, as errors of the transport, and its reasons for lost connections.

use omq_tokio::{DisconnectReason, MonitorEvent, MonitorStream};
use polywire_core::{Error, ErrorKind};

use crate::common_errors::{caller_gone, closed, config};

/// Converts an error of the engine. An error that the engine does not explain becomes
/// `Disconnected`, with the original as its source.
pub(super) fn engine_error(error: omq_tokio::Error) -> Error {
    match error {
        omq_tokio::Error::Closed => closed(),
        omq_tokio::Error::Unroutable => caller_gone(),
        omq_tokio::Error::Config(because) => {
            config("cannot open the socket: the engine rejects an option").with("because", because)
        }
        other => Error::new(ErrorKind::Disconnected, "the socket failed").with_source(other),
    }
}

/// The reason of a refusal by the peer's answer in the handshake.
pub(super) const DENIED: &str = "the peer denied access: wrong credentials, or not allowed";

/// Returns whether a handshake with this reason of its failure fails until one of the two sides is
/// configured anew: they differ in their security mechanisms, or in the pattern of their sockets.
pub(super) fn is_lasting(reason: &str) -> bool {
    ["mechanism mismatch", "incompatible socket types"].iter().any(|text| reason.starts_with(text))
}

/// Returns whether a peer was disconnected because of a message beyond the bound of the socket.
pub(super) fn is_of_message_max(reason: &DisconnectReason) -> bool {
    matches!(reason, DisconnectReason::Error(text) if text.starts_with("message too large"))
}

/// Returns the reason of the last disconnect among the unread events.
///
/// Does not wait. Takes all unread events, or those before a gap in the stream.
pub(super) fn disconnect_reason(events: &mut MonitorStream) -> Option<String> {
    let mut last = None;
    while let Ok(event) = events.try_recv() {
        if let MonitorEvent::Disconnected { reason, .. } = event {
            last = Some(format!("{reason:?}"));
        }
    }
    last
}
