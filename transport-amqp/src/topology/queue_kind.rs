//! Kinds of queues.

use std::fmt;
use std::str::FromStr;

use polywire_core::{Error, ErrorKind};

/// Kind of the service, job and group queues.
///
/// All programs that use a queue have to ask for the same kind. Reply queues, and the queues of
/// subscribers without a group, are always classic. [`Display`](fmt::Display) and [`FromStr`] use
/// the words of the URL parameter `queue_kind`: `classic` and `quorum`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueKind {
    /// A queue on one node, unavailable while the node is down. This is the default.
    #[default]
    Classic,
    /// A queue that is replicated to several nodes of a cluster, for messages that must survive the
    /// loss of a node.
    ///
    /// RabbitMQ 4 drops a message after 20 redeliveries, unless a policy or the queue's
    /// [`delivery_limit`](crate::QueueOptions::delivery_limit) says otherwise; with that limit, the
    /// message is dead-lettered. A worker gives up long before. From RabbitMQ 4.3 on, only what a
    /// handler had counts: neither what a stopping consumer returns, nor what waits for the broker.
    ///
    /// When the nodes of a cluster lose each other, the queue of RabbitMQ 4.3 waits a minute
    /// (`consumer_disconnected_timeout`) for the consumers of the other side before it redelivers
    /// what they hold. A call has failed by its default deadline of 30 seconds then.
    Quorum,
}

impl QueueKind {
    /// Returns the value of the argument `x-queue-type`.
    pub(super) fn argument(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        }
    }
}

impl fmt::Display for QueueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        })
    }
}

impl FromStr for QueueKind {
    type Err = Error;

    /// Parses `classic` or `quorum`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for any other text.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "classic" => Ok(Self::Classic),
            "quorum" => Ok(Self::Quorum),
            _ => {
                let error = Error::new(
                    ErrorKind::Config,
                    "cannot read the queue kind: expected `classic` or `quorum`",
                );
                Err(error.with("value", text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_parsed_and_displayed_with_the_same_words() {
        for (text, kind) in [("classic", QueueKind::Classic), ("quorum", QueueKind::Quorum)] {
            assert_eq!(text.parse::<QueueKind>().unwrap(), kind);
            assert_eq!(kind.to_string(), text);
        }
        for text in ["", "Classic", "stream", "quorum "] {
            let error = text.parse::<QueueKind>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        }
    }
}
