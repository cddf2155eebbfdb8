//! A message to publish and the sender that waits for its outcome.

use lapin::types::ShortString;
use polywire_core::{Deadline, Error, Result};
use tokio::sync::oneshot;

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
    /// Dropped without an outcome if the channel's task ends first.
    outcome: oneshot::Sender<Result<()>>,
}

/// The sender's end of a [`ConfirmWaiter`].
///
/// It fails without an outcome if the channel is dropped before the message is confirmed.
pub(super) type OutcomeReceiver = oneshot::Receiver<Result<()>>;

impl PublishRequest {
    /// Creates a request, and the receiver of its outcome.
    pub(super) fn new(message: OutgoingMessage) -> (Self, OutcomeReceiver) {
        let (outcome, receiver) = oneshot::channel();
        let size = message.header_len() + message.body.len();
        let waiter = ConfirmWaiter { routing_key: message.routing_key.clone(), size, outcome };
        (Self { message, waiter }, receiver)
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
        let _ = self.outcome.send(outcome);
    }
}
