//! Deliveries: received messages that have to be settled.

use super::Receipt;
use crate::message::Message;

/// Received message with the receipt that settles it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// Message.
    pub message: Message,
    /// Receipt, to be settled when the work is done. If it is dropped, the delivery is requeued.
    pub receipt: Receipt,
    /// Number of this attempt, from 1. From 2 on, an earlier attempt may have done the work, or
    /// part of it. A backend that only knows that a delivery is redelivered sets 2.
    pub attempt: u32,
}

impl Delivery {
    /// Creates a first attempt that has to be settled.
    #[must_use]
    pub fn new(message: Message, receipt: Receipt) -> Self {
        Self { message, receipt, attempt: 1 }
    }

    /// Creates a delivery that needs no settling: a reply, or any message of a backend without
    /// settlement.
    #[must_use]
    pub fn settled(message: Message) -> Self {
        Self::new(message, Receipt::none())
    }

    /// Sets the number of the attempt, from 1. The default is 1.
    #[must_use]
    pub fn attempt(self, attempt: u32) -> Self {
        Self { attempt, ..self }
    }
}
