//! A message on its way to a line.

use polywire_core::{Deadline, Error, Result};
use tokio::sync::oneshot;

use crate::wire::Publishing;

/// A message, and who is to be told what becomes of it.
pub(crate) struct Parcel {
    pub(crate) message: Publishing,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) tell: oneshot::Sender<Result<()>>,
    size: usize,
}

/// Where a sender is told.
pub(super) type Told = oneshot::Receiver<Result<()>>;

impl Parcel {
    pub(super) fn new(message: Publishing, deadline: Option<Deadline>) -> (Self, Told) {
        let (tell, told) = oneshot::channel();
        let size = message.header_len() + message.body.len();
        (Self { message, deadline, tell, size }, told)
    }

    /// The bytes that it counts for.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn is_expired(&self) -> bool {
        self.deadline.is_some_and(Deadline::is_expired)
    }

    pub(super) fn refuse(self, error: Error) {
        // Whoever stopped waiting needs no outcome.
        let _ = self.tell.send(Err(error));
    }
}
