//! The two ways for replies to come back.

use polywire_core::{Error, ErrorKind};

/// How replies come back to those who call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyMode {
    /// By a queue of the transport's own, which outlives its connection: a call in flight gets its
    /// reply also if the connection is lost and made again. This is the default.
    #[default]
    Queue,
    /// By RabbitMQ's [direct reply-to](https://www.rabbitmq.com/docs/direct-reply-to), without any queue: faster, and
    /// with less to rely on.
    ///
    /// Replies come over the very channel that requests go out on. When that is lost, so are they:
    /// all calls in flight fail at once, as [`RepliesLost`](ErrorKind::RepliesLost), whether
    /// they were carried out or not. What can take the channel is a lost connection, and any
    /// message that the broker answers by closing it. A server is not told if its
    /// caller is gone: the broker drops the reply, and the server counts it as answered. Nor is it
    /// told that a caller has stopped waiting, and goes on until the deadline.
    Direct,
}

impl std::str::FromStr for ReplyMode {
    type Err = Error;

    /// Reads `queue` or `direct`.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "queue" => Ok(Self::Queue),
            "direct" => Ok(Self::Direct),
            _ => Err(Error::new(ErrorKind::Config, "replies come by a queue, or are direct")),
        }
    }
}
