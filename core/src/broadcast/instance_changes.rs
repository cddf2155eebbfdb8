//! Changes of the instances of a service, as a caller sees them.

use std::fmt;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::message::Instance;

/// Change of the set of instances of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstanceChange {
    /// An instance is there that was not known before.
    Joined(Instance),
    /// An instance receives no more broadcasts, and finishes those that it runs.
    Draining(Instance),
    /// An instance has ended, or has not announced itself for two heartbeats.
    Left(Instance),
    /// The reader was slower than the changes, and has missed this number of them.
    /// [`Broadcaster::instances`](super::Broadcaster::instances) has the present set.
    Missed(u64),
}

/// Stream of the changes of the instances of a service; made by
/// [`Broadcaster::changes`](super::Broadcaster::changes). It holds at most 1,024 changes.
pub struct InstanceChanges {
    receiver: Receiver<InstanceChange>,
}

impl InstanceChanges {
    /// The number of changes that are held for a slow reader.
    pub(super) const HELD_MAX: usize = 1_024;

    pub(super) fn new(receiver: Receiver<InstanceChange>) -> Self {
        Self { receiver }
    }

    /// Waits for the next change; `None` after the last clone of the broadcaster was dropped, or
    /// its transport was closed. If the future is dropped, no change is lost.
    pub async fn next(&mut self) -> Option<InstanceChange> {
        match self.receiver.recv().await {
            Ok(change) => Some(change),
            Err(RecvError::Lagged(missed)) => Some(InstanceChange::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl fmt::Debug for InstanceChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceChanges").field("held", &self.receiver.len()).finish()
    }
}
