//! Dead-letter queues, as a backend implements them.

use std::fmt;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};
use crate::message::{Address, Message};

/// Source of dead letters: the queue, service or group in which the messages failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadLetterSource {
    /// Queue of jobs with this name.
    Queue(Address),
    /// Requests to this service.
    Service(Address),
    /// Group of subscribers.
    Group {
        /// Channel of the group.
        channel: Address,
        /// Name of the group.
        group: Address,
    },
}

impl DeadLetterSource {
    /// Returns the error of a backend that knows neither this source nor dead letters of it: the
    /// name may be misspelt. Its kind is [`ErrorKind::Config`], and its text names the source.
    #[must_use]
    pub fn unknown(&self) -> Error {
        let text = format!(
            "cannot open the dead letters of {self}: there is no such source, and no dead letter \
             of it; check the name"
        );
        Error::new(ErrorKind::Config, text).with_named("source", self).unsent()
    }
}

impl fmt::Display for DeadLetterSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(f, "the queue {queue}"),
            Self::Service(service) => write!(f, "the service {service}"),
            Self::Group { channel, group } => {
                write!(f, "the group {group} of the channel {channel}")
            }
        }
    }
}

/// Open dead-letter queue of a [`DeadLetterSource`].
///
/// A dead letter that was taken and neither redriven nor discarded returns to the queue, unchanged,
/// when the value is closed or dropped.
///
/// Implementations carry the attribute [`async_trait`](macro@super::async_trait).
#[async_trait]
pub trait DeadLetterQueue: Send + 'static {
    /// Takes the next dead letter, oldest first, and returns its tag and its message.
    ///
    /// Returns `None` after the dead letters that existed when the queue was opened. The
    /// [`History`](crate::message::History) of the message contains the
    /// [record](crate::message::History::dead_letter) of the dead-lettering. A dead letter that
    /// cannot be decoded is returned, too, with the readable fields and a
    /// [`fault`](Message::fault).
    ///
    /// If the future is dropped, no dead letter is lost.
    async fn take(&mut self) -> Result<Option<(u64, Message)>>;

    /// Returns the number of dead letters that were in the queue when it was opened.
    ///
    /// The default fails with [`ErrorKind::Unsupported`], for a
    /// backend that cannot count. If the future is dropped, nothing has changed.
    async fn count(&mut self) -> Result<u64> {
        Err(Error::lacking("DeadLetters::count", "counted dead letters"))
    }

    /// Moves a taken dead letter back to its source, where it counts as new: attempt 1, noted as
    /// [redriven](crate::message::History::redriven).
    ///
    /// The dead letter is removed from this queue only after the source has it. If the future is
    /// dropped, the message is in one of the two places, or in both.
    async fn redrive(&mut self, tag: u64) -> Result<()>;

    /// Deletes a taken dead letter. If the future is dropped, it may be deleted or not.
    async fn discard(&mut self, tag: u64) -> Result<()>;

    /// Returns the taken dead letters that were neither redriven nor discarded to the queue.
    ///
    /// After the future has resolved, the next opening of the queue finds them. If the future is
    /// dropped, they return to the queue as if the value were dropped.
    async fn close(&mut self) -> Result<()>;
}
