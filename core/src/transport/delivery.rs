//! Deliveries: received messages that have to be settled.

use super::{Receipt, Suspect};
use crate::message::Message;

/// Received message with the receipt that settles it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// Message. Boxed, because a delivery is moved several times on its way to its handler.
    pub message: Box<Message>,
    /// Receipt, to be settled when the work is done. If it is dropped, the delivery is requeued.
    pub receipt: Receipt,
    /// Number of this attempt, from 1. From 2 on, an earlier attempt may have done the work, or
    /// part of it. A backend that only knows that a delivery is redelivered sets 2.
    pub attempt: u32,
    /// Suspicion that the message has ended its last receiver. Such a delivery is redelivered, also
    /// in its first attempt. `None` from a backend that does not isolate suspects.
    pub suspect: Option<Suspect>,
}

impl Delivery {
    /// Creates a first attempt that has to be settled.
    #[must_use]
    pub fn new(message: impl Into<Box<Message>>, receipt: Receipt) -> Self {
        Self { message: message.into(), receipt, attempt: 1, suspect: None }
    }

    /// Creates a delivery that needs no settling: a reply, or any message of a backend without
    /// settlement.
    #[must_use]
    pub fn settled(message: impl Into<Box<Message>>) -> Self {
        Self::new(message, Receipt::none())
    }

    /// Sets the number of the attempt, from 1. The default is 1.
    #[must_use]
    pub fn attempt(self, attempt: u32) -> Self {
        Self { attempt, ..self }
    }

    /// Sets the suspicion that the message has ended its last receiver. The default is none.
    #[must_use]
    pub fn suspect(self, suspect: Suspect) -> Self {
        Self { suspect: Some(suspect), ..self }
    }

    /// Returns whether an earlier attempt may have done the work, or part of it.
    #[must_use]
    pub fn is_redelivered(&self) -> bool {
        self.attempt > 1 || self.suspect.is_some()
    }

    /// Returns the number of this attempt and of the crashes of an isolated suspect together.
    pub(crate) fn attempt_with_crashes(&self) -> u32 {
        self.attempt.saturating_add(self.suspect.map_or(0, |suspect| suspect.crashes))
    }
}
