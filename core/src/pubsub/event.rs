//! Events: received values with their topics.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Address, DeadLetterReason};
use crate::pipeline::{DecodeFn, Job, SettleError};
use crate::transport::{Capabilities, Delivery};
use crate::worker::dead_letter_or_discard;

/// Received event: a value and its topic.
///
/// The value is available through [`Deref`]. A member of a group has to settle each event; an event
/// that is dropped unsettled is redelivered to the group. Without a group, settling has no effect.
pub struct Event<T> {
    topic: Address,
    job: Job<T>,
}

impl<T> Event<T> {
    /// Decodes a delivery. A delivery that cannot be decoded is dead-lettered or discarded.
    pub(super) fn decode(
        delivery: Delivery,
        decode: &DecodeFn<T>,
        capabilities: Capabilities,
    ) -> Result<Self> {
        let Some(topic) = delivery.message.topic.clone() else {
            let text = "cannot decode the event: it has no topic";
            let reason = DeadLetterReason::Unreadable;
            let error = Error::new(ErrorKind::Codec, text);
            delivery.receipt.settle(dead_letter_or_discard(
                &capabilities,
                reason,
                error.to_string(),
            ));
            return Err(error);
        };
        Ok(Self { topic, job: Job::decode(delivery, decode, capabilities)? })
    }

    /// Returns the topic.
    #[must_use]
    pub fn topic(&self) -> &Address {
        &self.topic
    }

    /// Returns the context of the event: headers, number of the attempt.
    #[must_use]
    pub fn context(&self) -> &Context {
        self.job.context()
    }

    /// Acknowledges the event: the work is done.
    pub fn ack(self) {
        self.job.ack();
    }

    /// Discards the event, although the work is not done.
    pub fn discard(self) {
        self.job.discard();
    }

    /// Requeues the event: it is redelivered to the group at once.
    ///
    /// # Errors
    ///
    /// [`SettleError`], with the event, if the subscriber has no group or the transport does not
    /// support settlement.
    pub fn requeue(self) -> Result<(), SettleError<Self>> {
        let Self { topic, job } = self;
        job.requeue().map_err(|unsettled| unsettled.map(|job| Self { topic, job }))
    }

    /// Retries the event: it is redelivered to the group after `pause`; see [`Job::retry_after`].
    ///
    /// # Errors
    ///
    /// As [`Job::retry_after`]; also if the subscriber has no group.
    pub fn retry_after(
        self,
        pause: Duration,
        error: impl fmt::Display,
    ) -> Result<(), SettleError<Self>> {
        let Self { topic, job } = self;
        job.retry_after(pause, error).map_err(|unsettled| unsettled.map(|job| Self { topic, job }))
    }

    /// Moves the event to the dead letters of the group; see [`Job::dead_letter`].
    ///
    /// # Errors
    ///
    /// As [`Job::dead_letter`]; also if the subscriber has no group.
    pub fn dead_letter(self, error: impl fmt::Display) -> Result<(), SettleError<Self>> {
        let Self { topic, job } = self;
        job.dead_letter(error).map_err(|unsettled| unsettled.map(|job| Self { topic, job }))
    }
}

impl<T> Deref for Event<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.job
    }
}

impl<T: fmt::Debug> fmt::Debug for Event<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("topic", &self.topic)
            .field("value", &**self)
            .finish_non_exhaustive()
    }
}
