//! Errors that several modules return.

use polywire_core::{Error, ErrorKind};

/// Returns the error of every operation on a closed transport.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the transport is closed").unsent()
}

/// Returns the error of a message whose confirm was pending when the connection was lost. The
/// message may have arrived.
pub(crate) fn lost_unconfirmed() -> Error {
    Error::new(
        ErrorKind::Disconnected,
        "cannot confirm the message: the connection to the broker was lost",
    )
}

/// Returns the error of a message that the broker returned. No consumer got the message, so sending
/// again is safe.
pub(crate) fn unroutable(queue: &str) -> Error {
    let error =
        Error::new(ErrorKind::Unroutable, "cannot route the message: there is no such queue");
    error.with("queue", queue).unsent()
}

/// Converts a rejection by a queue with the policy `reject-publish` to [`ErrorKind::Overloaded`].
/// The broker gives no reason, and the queue's node may be down instead. Retrying later is right in
/// both cases.
pub(crate) fn queue_full(queue: &str, error: Error) -> Error {
    if error.kind() != ErrorKind::Rejected {
        return error;
    }
    let full =
        Error::new(ErrorKind::Overloaded, "cannot publish: the queue is full, or its node is down");
    full.with("queue", queue).with_source(error)
}
