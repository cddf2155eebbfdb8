//! The two kinds of queues that keep what is in them.

use polywire_core::{Error, ErrorKind};

/// How the broker keeps the queues that outlive us: those of services, of jobs and of groups.
///
/// All who use a queue have to ask for the same kind. Reply queues, and those of subscribers that
/// share with nobody, are classic always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueKind {
    /// On one node, and unreachable while that is. This is the default.
    ///
    /// Such a queue does not count attempts; so what is given back is published again, behind what
    /// waits there, with its count in a header.
    #[default]
    Classic,
    /// On several nodes of a cluster, which agree on what is in it; for what must not be lost with
    /// a node.
    ///
    /// It counts attempts by itself. From version 4 on, RabbitMQ lets go of what came back 20
    /// times, unless a policy says otherwise, or the queue's
    /// [`delivery_limit`](crate::QueueOptions::delivery_limit), which keeps it among the dead
    /// letters. A worker does so long before.
    Quorum,
}

impl QueueKind {
    /// What the broker calls it, if that has to be said.
    pub(crate) fn argument(self) -> Option<&'static str> {
        match self {
            Self::Classic => None,
            Self::Quorum => Some("quorum"),
        }
    }
}

impl std::str::FromStr for QueueKind {
    type Err = Error;

    /// Reads the broker's name of it: `classic` or `quorum`.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "classic" => Ok(Self::Classic),
            "quorum" => Ok(Self::Quorum),
            _ => Err(Error::new(ErrorKind::Config, "a queue is either classic or quorum")),
        }
    }
}
