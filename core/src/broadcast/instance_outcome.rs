//! The outcome of a broadcast at one instance.

use crate::error::{Error, Fault};
use crate::message::Instance;

/// Outcome of a broadcast, with the instance that it is from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Gathered<T> {
    /// The instance. It describes itself, so this is a claim; see [`Instance`].
    pub instance: Instance,
    /// The outcome.
    pub outcome: InstanceOutcome<T>,
}

/// Outcome of a broadcast at one instance.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum InstanceOutcome<T> {
    /// The handler returned this result.
    Reply(T),
    /// The handler failed, or the instance refused the call.
    Fault(Fault),
    /// The handler [declined](Fault::declined) the call, for this reason.
    Declined(Fault),
    /// The instance has left, or has not announced itself for two heartbeats. It may have run the
    /// call, in full or in part.
    Gone,
    /// The instance replied, and the reply cannot be decoded on this side.
    Unreadable(Error),
}

impl<T> InstanceOutcome<T> {
    /// Returns the result, if there is one.
    pub fn reply(self) -> Option<T> {
        match self {
            Self::Reply(reply) => Some(reply),
            _ => None,
        }
    }

    /// Returns `true` for a result.
    #[must_use]
    pub fn is_reply(&self) -> bool {
        matches!(self, Self::Reply(_))
    }
}
