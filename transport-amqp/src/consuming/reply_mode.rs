//! Ways for replies to reach their requester.

use std::fmt;
use std::str::FromStr;

use polywire_core::{Error, ErrorKind};

/// Way for replies to reach the clients of a transport.
///
/// [`Display`](fmt::Display) and [`FromStr`] use the words of the URL parameter `reply_mode`:
/// `queue` and `direct`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyMode {
    /// A reply queue of the transport, which outlives the connection: an in-flight call gets its
    /// reply even if the transport reconnects meanwhile. This is the default. The queue expires 5
    /// minutes after its transport has gone.
    #[default]
    Queue,
    /// RabbitMQ's [direct reply-to](https://www.rabbitmq.com/docs/direct-reply-to), without a
    /// queue: for clients that live for a few calls. There is nothing to declare and nothing to
    /// delete, and the guarantees are weaker. RabbitMQ advises against it for hundreds of replies
    /// a second to one client.
    ///
    /// Replies arrive on the channel that publishes the requests. When that channel is lost, all
    /// in-flight calls fail at once with [`RepliesLost`](ErrorKind::RepliesLost), whether they ran
    /// or not. The channel is lost with its connection, or when the broker answers a message by
    /// closing the channel.
    ///
    /// The broker drops a reply to a client that is gone, and the server counts the request as
    /// answered. From RabbitMQ 4.2 on, no counter counts such a reply. A server does not learn that
    /// a client has stopped waiting: its handler runs until the deadline.
    Direct,
}

impl fmt::Display for ReplyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Queue => "queue",
            Self::Direct => "direct",
        })
    }
}

impl FromStr for ReplyMode {
    type Err = Error;

    /// Parses `queue` or `direct`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for any other text.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "queue" => Ok(Self::Queue),
            "direct" => Ok(Self::Direct),
            _ => {
                let error = Error::new(
                    ErrorKind::Config,
                    "cannot read the reply mode: expected `queue` or `direct`",
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
    fn modes_are_parsed_and_displayed_with_the_same_words() {
        for (text, mode) in [("queue", ReplyMode::Queue), ("direct", ReplyMode::Direct)] {
            assert_eq!(text.parse::<ReplyMode>().unwrap(), mode);
            assert_eq!(mode.to_string(), text);
        }
        for text in ["", "Queue", "indirect", "direct "] {
            let error = text.parse::<ReplyMode>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        }
    }
}
