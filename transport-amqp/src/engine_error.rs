//! Conversion of the engine's errors.
//!
//! The engine reports what the broker answered as a reply code and a text. The reply code decides
//! on the [`ErrorKind`]. Two texts are parsed, since their details help: that of an argument
//! mismatch, and that of a message that is too large. If a broker words them differently, only the
//! details are lost.

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use polywire_core::{Error, ErrorKind};

use crate::engine_cause::EngineCause;

/// Converts an error of the engine. `context` names the failed operation: "cannot …".
///
/// The error is not marked as unsent: only the caller knows whether a message was written.
pub(crate) fn failed(context: &'static str, error: &lapin::Error) -> Error {
    Error::new(kind_of(error), context).with_source(EngineCause::of(error))
}

/// Returns whether the broker refuses until a name, a right or something at the broker is changed.
///
/// A queue that is not found is no such refusal: the queue of a node that is down is reported so,
/// and is found again when the node is back. Another program may also declare a missing queue.
pub(crate) fn is_refusal(error: &Error) -> bool {
    let cause = error.cause().and_then(|cause| cause.downcast_ref::<EngineCause>());
    match error.kind() {
        ErrorKind::Denied => true,
        ErrorKind::Config => !cause.is_some_and(EngineCause::is_not_found),
        _ => false,
    }
}

/// Returns the broker's reason for closing a channel; `None` for any other error.
///
/// AMQP calls such a reason a soft error. A hard error closes the connection.
pub(crate) fn channel_error(error: &lapin::Error) -> Option<&AMQPSoftError> {
    let lapin::ErrorKind::ProtocolError(error) = error.kind() else { return None };
    match error.kind() {
        AMQPErrorKind::Soft(reason) => Some(reason),
        AMQPErrorKind::Hard(_) => None,
    }
}

/// Returns the broker's text for closing a channel or the connection; empty for any other error.
pub(crate) fn reply_text(error: &lapin::Error) -> &str {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => error.get_message().as_str(),
        _ => "",
    }
}

/// Returns the size of a message and the broker's limit, if the broker closed the channel because
/// the message was too large. Messages under way on the channel are lost with it.
pub(crate) fn too_large(error: &lapin::Error) -> Option<(usize, usize)> {
    let lapin::ErrorKind::ProtocolError(error) = error.kind() else { return None };
    sizes_in(error.get_message().as_str())
}

/// Parses `message size 2097152 is larger than configured max size 1048576`.
fn sizes_in(text: &str) -> Option<(usize, usize)> {
    let (_, rest) = text.split_once("message size ")?;
    let (size, rest) = rest.split_once(" is larger than ")?;
    let limit = rest.rsplit(' ').next()?;
    Some((size.parse().ok()?, limit.parse().ok()?))
}

/// Argument of an existing queue that differs from the requested one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ArgumentMismatch {
    /// Name of the argument, as `x-max-priority`.
    pub(crate) argument: String,
    /// Requested value; `none` if the argument was not set.
    pub(crate) ours: String,
    /// Value at the broker; `none` if the argument is not set.
    pub(crate) theirs: String,
}

/// Returns the mismatch that the broker reported; `None` for any other error.
pub(crate) fn argument_mismatch(error: &lapin::Error) -> Option<ArgumentMismatch> {
    let lapin::ErrorKind::ProtocolError(error) = error.kind() else { return None };
    mismatch_in(error.get_message().as_str())
}

/// Parses `inequivalent arg 'x-max-priority' for queue 'q' in vhost '/': received the value '5' of
/// type 'long' but current is none`.
fn mismatch_in(text: &str) -> Option<ArgumentMismatch> {
    let (_, rest) = text.split_once("inequivalent arg '")?;
    let (argument, rest) = rest.split_once('\'')?;
    let (_, rest) = rest.split_once(": received ")?;
    let (ours, theirs) = rest.split_once(" but current is ")?;
    let (argument, ours, theirs) = (argument.to_owned(), value_in(ours), value_in(theirs));
    Some(ArgumentMismatch { argument, ours, theirs })
}

/// Strips the words around a value. The broker truncates long texts.
fn value_in(text: &str) -> String {
    let value = text.strip_prefix("the value ").unwrap_or(text);
    let value = value.split_once("' of type").map_or(value, |(value, _)| value);
    value.trim_matches('\'').to_owned()
}

/// Maps a reply code to a kind. All errors but the broker's refusals count as a lost connection,
/// after which the transport reconnects.
///
/// - `Denied`: the reply codes 403 (access refused), 405 (resource locked) and 530 (not allowed).
/// - `Config`: the reply codes 404 (not found) and 406 (precondition failed).
/// - `Disconnected`: all other reply codes, and all errors of sockets and of the engine.
pub(crate) fn kind_of(error: &lapin::Error) -> ErrorKind {
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
    use crate::common_errors::lost_unconfirmed;

    #[test]
    fn mismatches_are_parsed() {
        let mismatch = |argument: &str, ours: &str, theirs: &str| ArgumentMismatch {
            argument: argument.to_owned(),
            ours: ours.to_owned(),
            theirs: theirs.to_owned(),
        };
        for (text, expected) in [
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received the value \
                 'quorum' of type 'longstr' but current is none",
                Some(mismatch("x-queue-type", "quorum", "none")),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but current \
                 is 'false'",
                Some(mismatch("durable", "true", "false")),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received none but \
                 current is the value '5' of type 'lo...",
                Some(mismatch("x-max-length", "none", "5")),
            ),
            ("PRECONDITION_FAILED - unknown delivery tag 7", None),
        ] {
            assert_eq!(mismatch_in(text), expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_parsed() {
        let text =
            "PRECONDITION_FAILED - message size 2097152 is larger than configured max size 1048576";
        assert_eq!(sizes_in(text), Some((2_097_152, 1_048_576)));
        assert_eq!(sizes_in("PRECONDITION_FAILED - message size big is larger than any"), None);
    }

    #[test]
    fn queue_that_is_not_found_is_no_refusal() {
        for (reason, text, expected) in [
            (AMQPSoftError::ACCESSREFUSED, "ACCESS_REFUSED - access refused", true),
            (AMQPSoftError::PRECONDITIONFAILED, "PRECONDITION_FAILED - inequivalent arg", true),
            (AMQPSoftError::NOTFOUND, "NOT_FOUND - home node of queue 'q' is down", false),
            (AMQPSoftError::NOTFOUND, "NOT_FOUND - no queue 'q' in vhost '/'", false),
        ] {
            let error = AMQPError::new(AMQPErrorKind::Soft(reason), text.into());
            let error = failed("cannot", &lapin::ErrorKind::ProtocolError(error).into());
            assert_eq!(is_refusal(&error.with("queue", "q")), expected, "{text}");
        }
        assert!(is_refusal(&Error::new(ErrorKind::Config, "of another version")));
        assert!(!is_refusal(&lost_unconfirmed()));
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
            assert_eq!(failed("cannot", &error.into()).kind(), expected);
        }
    }
}
