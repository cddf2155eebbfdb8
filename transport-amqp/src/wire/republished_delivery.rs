//! A delivery that is published again.

use std::time::Duration;

use bytes::Bytes;
use lapin::BasicProperties;
use polywire_core::message::History;
use polywire_core::{Address, Deadline};

use super::declined_by::Declines;

/// A delivery to publish again: the message as it arrived, and the changes for its next attempt.
///
/// Retried, requeued, declined and dead-lettered deliveries all take this form.
#[derive(Clone, Debug)]
pub(crate) struct Republish {
    /// Properties of the delivery, as they arrived.
    pub(crate) properties: BasicProperties,
    /// Topic of an event. A copy goes through the default exchange, where the routing key names a
    /// queue, so the topic moves to a header.
    pub(crate) topic: Option<Address>,
    pub(crate) body: Bytes,
    /// Errors and dead-letter records to write in place of those in the headers.
    pub(crate) history: Option<Box<History>>,
    /// Number of the next attempt, counted from 1.
    pub(crate) attempt: u32,
    /// Crashes to write, for a copy in the queue of suspects.
    pub(crate) crashes: Option<u32>,
    /// Removal of the expiration: delayed and dead-lettered copies must not expire in their queue.
    pub(crate) without_expiration: bool,
    /// Deadline of the call, for requests.
    pub(crate) deadline: Option<Deadline>,
    /// Servers that declined the request, if another server is to get the request for that reason.
    pub(crate) declines: Option<Declines>,
    /// Time that the copy waits in a retry queue; zero if it goes to its queue at once.
    pub(crate) delay: Duration,
}

impl Republish {
    /// Returns an unchanged copy of a delivery for attempt number `attempt`.
    pub(crate) fn new(
        properties: BasicProperties,
        topic: Option<Address>,
        body: Bytes,
        attempt: u32,
    ) -> Self {
        Self {
            properties,
            topic,
            body,
            history: None,
            attempt,
            crashes: None,
            without_expiration: false,
            deadline: None,
            declines: None,
            delay: Duration::ZERO,
        }
    }

    /// Returns the number of attempts so far: those that are counted, and the crashes of a suspect.
    pub(crate) fn attempts_made(&self) -> u32 {
        self.attempt.saturating_add(self.crashes.unwrap_or(0))
    }

    /// Removes the expiration, so that the copy stays in its queue until it is consumed or moved.
    pub(crate) fn without_expiration(self) -> Self {
        Self { without_expiration: true, ..self }
    }
}
