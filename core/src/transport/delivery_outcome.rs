//! Outcomes of deliveries.

use std::time::Duration;

use bytestring::ByteString;

use crate::error::Fault;
use crate::message::DeadLetterReason;

/// Outcome of a delivery, as the receiver settles it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Acknowledge: the work is done.
    Ack,
    /// Discard: delete the message, although the work is not done.
    Discard,
    /// Requeue: redeliver the message at once, to this receiver or another one.
    Requeue,
    /// Decline a request untouched: deliver it to another responder.
    ///
    /// The backend answers the client with this fault when no other responder is left, or when the
    /// request was declined too often. Core uses this outcome for requests only, and only if the
    /// backend supports [`declining`](super::Capabilities::declining).
    Decline(Box<Fault>),
    /// Retry: redeliver the message after a delay. Core uses this outcome only if the backend
    /// supports [`delayed_retries`](super::Capabilities::delayed_retries).
    Retry(Box<RetryAfter>),
    /// Dead-letter: move the message to the dead-letter queue. Core uses this outcome only if the
    /// backend supports [`dead_letters`](super::Capabilities::dead_letters).
    DeadLetter(Box<DeadLetterInfo>),
}

/// Delay and error of a retry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryAfter {
    /// Shortest time until the redelivery. A backend that cannot measure the time exactly may take
    /// up to a quarter more.
    pub after: Duration,
    /// Error of the attempt, for the [`History`](crate::message::History) of the message.
    pub error: ByteString,
}

impl RetryAfter {
    /// Longest delay: 7 days. Each distinct delay can take a queue of a broker.
    pub const MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

    /// Creates a retry after this delay, but at most [`RetryAfter::MAX`].
    #[must_use]
    pub fn new(after: Duration, error: impl Into<ByteString>) -> Self {
        Self { after: after.min(Self::MAX), error: error.into() }
    }
}

/// Reason and error of a dead-lettering.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterInfo {
    /// Reason.
    pub reason: DeadLetterReason,
    /// Error of the last attempt, for the [`History`](crate::message::History) of the message.
    pub error: ByteString,
}

impl DeadLetterInfo {
    /// Creates the information about a dead-lettering.
    #[must_use]
    pub fn new(reason: DeadLetterReason, error: impl Into<ByteString>) -> Self {
        Self { reason, error: error.into() }
    }
}
