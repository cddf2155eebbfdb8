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
pub(crate) fn lost_unconfirmed() -> Error {
    Error::new(
        ErrorKind::Disconnected,
        "the connection to the broker was lost before it confirmed the message",
    )
}

/// The broker had no queue to put a message into. It never reached anybody, so that trying again is
/// safe.
pub(crate) fn unroutable(queue: &str) -> Error {
    Error::new(ErrorKind::Unroutable, "no queue takes the message").with("queue", queue).unsent()
}

/// What a refusal by a queue means that refuses what is too much. The broker gives no reasons, and
/// the queue may also be out of its reach; trying again later is right either way.
pub(crate) fn queue_full(queue: &str, error: Error) -> Error {
    if error.kind() != ErrorKind::Rejected {
        return error;
    }
    let full = Error::new(ErrorKind::Overloaded, "the queue is full, or out of the broker's reach");
    full.with("queue", queue).with_source(error)
}

/// A lock is poisoned only if a panic struck while it was held; no code of ours panics there, and
/// the data would be whole anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why the broker closed a channel, if that is what this failure is about, and not the end of the
/// connection.
pub(crate) fn channel_error(error: &lapin::Error) -> Option<&AMQPSoftError> {
    let lapin::ErrorKind::ProtocolError(error) = error.kind() else { return None };
    match error.kind() {
        AMQPErrorKind::Soft(reason) => Some(reason),
        AMQPErrorKind::Hard(_) => None,
    }
}

/// The size of a message that the broker holds for too large, and how large it may be, if that is
/// what this failure is about: the broker closes the channel, with all that is on its way.
pub(crate) fn too_large(error: &lapin::Error) -> Option<(usize, usize)> {
    let lapin::ErrorKind::ProtocolError(error) = error.kind() else { return None };
    sizes_in(error.get_message().as_str())
}

/// `message size 2097152 is larger than configured max size 1048576`
fn sizes_in(sentence: &str) -> Option<(usize, usize)> {
    let (_, rest) = sentence.split_once("message size ")?;
    let (size, rest) = rest.split_once(" is larger than ")?;
    let limit = rest.rsplit(' ').next()?;
    Some((size.parse().ok()?, limit.parse().ok()?))
}

/// In what a queue that is there differs from the one that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ArgumentMismatch {
    pub(crate) argument: String,
    pub(crate) ours: String,
    pub(crate) theirs: String,
}

/// Reads it out of the broker's sentence, if that is what this failure is about.
pub(crate) fn argument_mismatch(error: &lapin::Error) -> Option<ArgumentMismatch> {
    let lapin::ErrorKind::ProtocolError(error) = error.kind() else { return None };
    mismatch_in(error.get_message().as_str())
}

/// `argument_mismatch arg 'x-max-priority' for queue 'q' in vhost '/': received the value '5' of type
/// 'long' but current is none`
fn mismatch_in(sentence: &str) -> Option<ArgumentMismatch> {
    let (_, rest) = sentence.split_once("argument_mismatch arg '")?;
    let (argument, rest) = rest.split_once('\'')?;
    let (_, rest) = rest.split_once(": received ")?;
    let (ours, theirs) = rest.split_once(" but current is ")?;
    let (argument, ours, theirs) = (argument.to_owned(), value_in(ours), value_in(theirs));
    Some(ArgumentMismatch { argument, ours, theirs })
}

/// The value without what stands around it; the broker cuts long sentences off.
fn value_in(words: &str) -> String {
    let value = words.strip_prefix("the value ").unwrap_or(words);
    let value = value.split_once("' of type").map_or(value, |(value, _)| value);
    value.trim_matches('\'').to_owned()
}

fn kind_of(error: &lapin::Error) -> ErrorKind {
    let lapin::ErrorKind::ProtocolError(error) = error.kind() else {
        return ErrorKind::Disconnected;
    };
    match error.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED | AMQPSoftError::RESOURCELOCKED)
        | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => ErrorKind::Denied,
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND | AMQPSoftError::PRECONDITIONFAILED) => {
            ErrorKind::Config
        }
        _ => ErrorKind::Disconnected,
    }
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    #[test]
    fn clashes_are_read_out_of_the_sentence() {
        let clash = |argument: &str, ours: &str, theirs: &str| ArgumentMismatch {
            argument: argument.to_owned(),
            ours: ours.to_owned(),
            theirs: theirs.to_owned(),
        };
        for (sentence, expected) in [
            (
                "PRECONDITION_FAILED - argument_mismatch arg 'x-queue-type' for queue 'q' in vhost '/': received the value \
                 'quorum' of type 'longstr' but current is none",
                Some(clash("x-queue-type", "quorum", "none")),
            ),
            (
                "PRECONDITION_FAILED - argument_mismatch arg 'durable' for queue 'q' in vhost '/': received 'true' but current \
                 is 'false'",
                Some(clash("durable", "true", "false")),
            ),
            (
                "PRECONDITION_FAILED - argument_mismatch arg 'x-max-length' for queue 'q' in vhost '/': received none but \
                 current is the value '5' of type 'lo...",
                Some(clash("x-max-length", "none", "5")),
            ),
            ("PRECONDITION_FAILED - unknown delivery tag 7", None),
        ] {
            assert_eq!(mismatch_in(sentence), expected, "{sentence}");
        }
    }

    #[test]
    fn sizes_are_read_out_of_the_sentence() {
        let sentence =
            "PRECONDITION_FAILED - message size 2097152 is larger than configured max size 1048576";
        assert_eq!(sizes_in(sentence), Some((2_097_152, 1_048_576)));
        assert_eq!(sizes_in("PRECONDITION_FAILED - message size big is larger than any"), None);
    }

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
