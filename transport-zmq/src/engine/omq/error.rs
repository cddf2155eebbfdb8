//! Errors of the engine, as errors of the transport, and its reasons for lost connections.

use omq_tokio::{MonitorEvent, MonitorStream};
use polywire_core::{Error, ErrorKind};

use crate::error::{caller_gone, closed, config};

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
