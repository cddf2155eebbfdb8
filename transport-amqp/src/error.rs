//! The engine's failures, in core's words.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use polywire_core::{Error, ErrorKind};

/// A failure of the engine, while doing `what`.
pub(crate) fn failed(what: &'static str, error: lapin::Error) -> Error {
    Error::new(kind_of(&error), what).with_source(error)
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the transport is closed").unsent()
}

/// A message was on its way when the connection went: it may have arrived.
pub(crate) fn lost_on_the_way() -> Error {
    Error::new(
        ErrorKind::Disconnected,
        "the connection to the broker was lost before it confirmed the message",
    )
}

/// The broker had no queue to put a message into. It never reached anybody, so that trying again is safe.
pub(crate) fn unroutable(queue: &str) -> Error {
    Error::new(ErrorKind::Unroutable, "no queue takes the message").with("queue", queue).unsent()
}

/// A lock is poisoned only if a panic struck while it was held; no code of ours panics there, and the data would be
/// whole anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kind_of(error: &lapin::Error) -> ErrorKind {
    let lapin::ErrorKind::ProtocolError(error) = error.kind() else { return ErrorKind::Disconnected };
    match error.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED | AMQPSoftError::RESOURCELOCKED)
        | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => ErrorKind::Denied,
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND | AMQPSoftError::PRECONDITIONFAILED) => ErrorKind::Config,
        _ => ErrorKind::Disconnected,
    }
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    #[test]
    fn reply_codes_have_kinds() {
        for (kind, expected) in [
            (AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED), ErrorKind::Denied),
            (AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED), ErrorKind::Denied),
            (AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED), ErrorKind::Config),
            (AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED), ErrorKind::Disconnected),
        ] {
            let error = lapin::ErrorKind::ProtocolError(AMQPError::new(kind, "why".into()));
            assert_eq!(failed("cannot", error.into()).kind(), expected);
        }
    }
}
