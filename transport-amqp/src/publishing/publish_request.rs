//! A message to publish and the sender that waits for its outcome.

use lapin::types::ShortString;
use polywire_core::{Deadline, Error, Result};

use super::outcome_slot::OutcomeSender;
use crate::wire::OutgoingMessage;

/// A message to publish, with the sender that waits for its outcome.
///
/// It moves unchanged from the publisher through the buffer to the channel.
pub(super) struct PublishRequest {
    /// The message, not stamped yet.
    pub(super) message: OutgoingMessage,
    pub(super) waiter: ConfirmWaiter,
}

/// The sender that waits for the outcome of one message.
pub(super) struct ConfirmWaiter {
    /// Routing key of the message, for errors.
    pub(super) routing_key: ShortString,
    /// Bytes that the message counts for: its body, and its header without the stamped properties.
    pub(super) size: usize,
    /// Dropped without an outcome if the channel's task ends first. `None` once the sender has
    /// waited for too long.
    outcome: Option<OutcomeSender>,
}

impl PublishRequest {
    /// Creates a request of [`size_of`](Self::size_of) bytes, whose outcome goes to `outcome`.
    pub(super) fn new(message: OutgoingMessage, size: usize, outcome: OutcomeSender) -> Self {
        let (routing_key, outcome) = (message.routing_key.clone(), Some(outcome));
        Self { message, waiter: ConfirmWaiter { routing_key, size, outcome } }
    }

    /// Returns the bytes that a message counts for.
    pub(super) fn size_of(message: &OutgoingMessage) -> usize {
        message.header_len() + message.body.len()
    }

    /// Returns the bytes that the message counts for.
    pub(super) fn size(&self) -> usize {
        self.waiter.size
    }

    /// Returns whether the deadline of the message has passed, so that it must not be written.
    pub(super) fn is_expired(&self) -> bool {
        self.message.deadline.is_some_and(Deadline::is_expired)
    }

    /// Drops the message, and fails its sender with `error`.
    pub(super) fn fail(self, error: Error) {
        self.waiter.resolve(Err(error));
    }
}

impl ConfirmWaiter {
    /// Reports the outcome to the sender. A sender that no longer waits does not receive it.
    pub(super) fn resolve(self, outcome: Result<()>) {
        if let Some(sender) = self.outcome {
            sender.send(outcome);
        }
    }

    /// Takes the sender out, which waits no longer; `None` after the first call.
    pub(super) fn give_up(&mut self) -> Option<OutcomeSender> {
        self.outcome.take()
    }
}
