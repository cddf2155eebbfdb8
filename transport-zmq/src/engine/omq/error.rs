//! Errors of the engine, as errors of the transport.

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
