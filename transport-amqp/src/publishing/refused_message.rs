//! Refused messages: the broker closes the channel of a message that it refuses.
//!
//! All unconfirmed messages of the channel fail with the same reason. The reason belongs to the
//! message that caused it; the others are neighbors, whose outcome is unknown.

use lapin::protocol::AMQPSoftError;
use polywire_core::{Error, ErrorKind};

use crate::common_errors::lost_unconfirmed;
use crate::engine_cause::EngineCause;
use crate::engine_error::{channel_error, reply_text, too_large};

/// A message that failed with its channel.
pub(crate) struct Refused<'a> {
    pub(crate) exchange: &'a str,
    pub(crate) routing_key: &'a str,
    pub(crate) body_len: usize,
}

impl Refused<'_> {
    /// Returns the error of the message: the broker's reason if this message may be its cause.
    ///
    /// - `Denied` and `Config`: the refusal of the exchange or the topic.
    /// - `TooLarge`, unsent: the broker's size limit, with the size of this body.
    /// - `Disconnected`, unsent: the channel was closed before the engine wrote the message.
    /// - `Disconnected`: any other reason, so that the message may have arrived.
    pub(crate) fn error(&self, error: &lapin::Error) -> Error {
        let with_exchange = |error: Error| match self.exchange {
            "" => error,
            exchange => error.with("exchange", exchange),
        };
        let refused = match channel_error(error) {
            // Each message of a channel goes to the same exchange.
            Some(AMQPSoftError::ACCESSREFUSED) => match refused_topic(reply_text(error)) {
                Some(topic) if !topic.is(self.routing_key) => neighbor(),
                _ => with_exchange(Error::new(
                    ErrorKind::Denied,
                    "cannot publish the message: the user may not write to the exchange",
                )),
            },
            Some(AMQPSoftError::NOTFOUND) => with_exchange(Error::new(
                ErrorKind::Config,
                "cannot publish the message: the exchange does not exist",
            )),
            // The message is recognized by its size. Publishing it again would fail again.
            Some(AMQPSoftError::PRECONDITIONFAILED) => match too_large(error) {
                Some((size, limit)) if size == self.body_len => over_size_limit(size, limit),
                _ => neighbor(),
            },
            _ if is_unwritten(error) => neighbor().unsent(),
            _ => lost_unconfirmed(),
        };
        refused.with_source(EngineCause::of(error))
    }
}

/// Returns the error of a message over the size limit of the broker.
pub(super) fn over_size_limit(size: usize, limit: usize) -> Error {
    let error = Error::new(
        ErrorKind::TooLarge,
        "cannot publish the message: the broker accepts no message of this size",
    );
    error.unsent().with("size", size).with("limit", limit)
}

/// Returns the size limit that the broker named when it refused a message.
pub(super) fn size_limit(error: &Error) -> Option<usize> {
    // The limit of a frame, for a header, has no cause at the broker.
    let is_refused = error.kind() == ErrorKind::TooLarge && error.cause().is_some();
    error.detail("limit").filter(|_| is_refused)?.parse().ok()
}

/// Returns the error of a message whose channel was closed because of another one.
fn neighbor() -> Error {
    lost_unconfirmed().with("because", NEIGHBOR)
}

/// Returns whether the engine did not write the message, since the channel was closed already.
///
/// The close may arrive between the check that the channel is ready and the write.
fn is_unwritten(error: &lapin::Error) -> bool {
    matches!(error.kind(), lapin::ErrorKind::InvalidChannelState(_, "basic.publish"))
}

/// Returns whether a message failed because of another one on its channel.
///
/// Publishing it again is of use.
pub(crate) fn is_neighbor(error: &Error) -> bool {
    error.detail("because") == Some(NEIGHBOR)
}

const NEIGHBOR: &str = "another message may have closed the channel";

/// A topic to which the user may not write, as the broker reports it.
struct Topic<'a> {
    text: &'a str,
    /// Set if the broker has cut the text.
    is_cut: bool,
}

impl Topic<'_> {
    fn is(&self, routing_key: &str) -> bool {
        if self.is_cut { routing_key.starts_with(self.text) } else { routing_key == self.text }
    }
}

/// Parses `access to topic 'a.b' in exchange 'x' in vhost '/' refused for user 'u'`. The broker
/// cuts long texts, and ends them with three dots.
fn refused_topic(text: &str) -> Option<Topic<'_>> {
    let (_, rest) = text.split_once("access to topic '")?;
    Some(match rest.split_once("' in exchange '") {
        Some((text, _)) => Topic { text, is_cut: false },
        None => {
            let text = rest.trim_end_matches('.').trim_end_matches('?');
            Topic { text: text.split_once("' in ").map_or(text, |(text, _)| text), is_cut: true }
        }
    })
}

#[cfg(test)]
mod tests {
    use lapin::protocol::{AMQPError, AMQPErrorKind};

    use super::*;

    fn refused(kind: AMQPSoftError, text: &str) -> Error {
        let error = AMQPError::new(AMQPErrorKind::Soft(kind), text.into());
        let message = Refused { exchange: "e", routing_key: "a.b", body_len: 9 };
        message.error(&lapin::ErrorKind::ProtocolError(error).into())
    }

    #[test]
    fn reason_reaches_its_cause_alone() {
        use AMQPSoftError::{ACCESSREFUSED, NOTFOUND, PRECONDITIONFAILED};
        for (kind, text, expected) in [
            (NOTFOUND, "NOT_FOUND - no exchange 'e' in vhost '/'", ErrorKind::Config),
            (ACCESSREFUSED, "access to exchange 'e' in vhost '/' refused", ErrorKind::Denied),
            (ACCESSREFUSED, "access to topic 'a.b' in exchange 'e' in vhost", ErrorKind::Denied),
            (ACCESSREFUSED, "access to topic 'a....", ErrorKind::Denied),
            (ACCESSREFUSED, "access to topic 'c' in exchange 'e'", ErrorKind::Disconnected),
            (ACCESSREFUSED, "access to topic 'c...", ErrorKind::Disconnected),
            (PRECONDITIONFAILED, "message size 9 is larger than max size 5", ErrorKind::TooLarge),
            (
                PRECONDITIONFAILED,
                "message size 8 is larger than max size 5",
                ErrorKind::Disconnected,
            ),
        ] {
            let error = refused(kind, text);
            assert_eq!(error.kind(), expected, "{text}: {error:?}");
            assert_eq!(is_neighbor(&error), expected == ErrorKind::Disconnected, "{text}");
        }
    }

    #[test]
    fn message_after_the_close_is_unsent_and_published_again() {
        let message = Refused { exchange: "e", routing_key: "a.b", body_len: 9 };
        for (context, is_unsent) in [("basic.publish", true), ("channel.close-ok sent", false)] {
            let state = lapin::ChannelState::Closing;
            let error = lapin::ErrorKind::InvalidChannelState(state, context).into();
            let error = message.error(&error);
            assert_eq!(error.kind(), ErrorKind::Disconnected, "{context}: {error:?}");
            assert_eq!((error.is_unsent(), is_neighbor(&error)), (is_unsent, is_unsent));
        }
    }
}
