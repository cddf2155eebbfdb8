//! Errors that several modules return.

use polywire_core::{Error, ErrorKind};

/// Returns the error for every use of a closed endpoint handle.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the transport is closed").unsent()
}

/// Returns the error for a malformed configuration, or a call that does not fit it.
pub(crate) fn config(message: &'static str) -> Error {
    Error::new(ErrorKind::Config, message).unsent()
}

/// Returns the error for a reply whose client is disconnected.
pub(crate) fn caller_gone() -> Error {
    Error::new(ErrorKind::Unroutable, "cannot send the reply: the client is gone")
}
