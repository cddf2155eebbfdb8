//! Where dead letters are, for those who look after them.

use std::fmt;

use futures_core::future::BoxFuture;

use crate::error::Result;
use crate::message::{Address, Message};

/// Where a message died: the end whose dead letters it is among.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadLetterSource {
    /// The queue of jobs of this name.
    Queue(Address),
    /// The requests to this service.
    Service(Address),
    /// What a group of subscribers shares.
    Group {
        /// The channel.
        channel: Address,
        /// The group's name.
        group: Address,
    },
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

/// What a backend implements to let somebody look after the dead letters of an
/// [`DeadLetterSource`].
///
/// Whatever was taken and neither redriven nor discarded is given back when it is closed or
/// dropped, as if nobody had looked.
pub trait DeadLetterQueue: Send + 'static {
    /// The next dead letter with the number to name it by, oldest first; `None` after those that
    /// were there when this was opened. Its [`History`](crate::message::History) says how it
    /// [died](crate::message::History::death). One that cannot be read is there all the same, with
    /// as much as can be read, and a [`fault`](Message::fault) that says what cannot.
    ///
    /// Dropping the future loses nothing.
    fn take(&mut self) -> BoxFuture<'_, Result<Option<(u64, Message)>>>;

    /// Puts one that was taken back where it died, to be attempted as if for the first time, with a
    /// note that it was [redriven](crate::message::History::redriven). It is away from here only
    /// when it is there. Dropping the future leaves it in one of the two places, or in both.
    fn redrive(&mut self, letter: u64) -> BoxFuture<'_, Result<()>>;

    /// Forgets one that was taken. Dropping the future leaves it open whether it did.
    fn discard(&mut self, letter: u64) -> BoxFuture<'_, Result<()>>;

    /// Gives back what was taken and neither redriven nor discarded, so that whoever opens them
    /// after this has resolved finds it.
    fn close(&mut self) -> BoxFuture<'_, Result<()>>;
}
