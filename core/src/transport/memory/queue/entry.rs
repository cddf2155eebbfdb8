//! Entries of a queue.

use std::cmp::Reverse;

use tokio::sync::oneshot;

use crate::error::Fault;
use crate::message::Message;
use crate::transport::Abandoned;

/// Message in a queue, ready, delayed or unsettled.
pub(super) struct QueueEntry {
    pub(super) message: Box<Message>,
    /// Number of the next or current attempt, from 1.
    pub(super) attempt: u32,
    /// Position among entries of equal priority. A requeued entry keeps its position.
    pub(super) position: u64,
    pub(super) declines: Option<Box<Declines>>,
    /// Set for a canary, which is no message.
    pub(super) canary: Option<Box<QueuedCanary>>,
}

/// Copy of an entry whose message a consumer has fetched.
pub(super) struct UnsettledEntry {
    /// Not boxed: the table of a consumer keeps its room.
    message: Message,
    attempt: u32,
    position: u64,
    declines: Option<Box<Declines>>,
}

/// Canary for one consumer, and the way back to its probe.
pub(super) struct QueuedCanary {
    consumer: u64,
    pub(super) back: oneshot::Sender<()>,
}

/// Consumers that have declined an entry, and the fault of the last one.
pub(super) struct Declines {
    consumers: Vec<u64>,
    fault: Box<Fault>,
}

impl QueueEntry {
    /// Creates the entry of a first attempt.
    pub(super) fn new(message: Box<Message>) -> Self {
        Self { message, attempt: 1, position: 0, declines: None, canary: None }
    }

    /// Creates the entry of a canary for this consumer.
    pub(super) fn canary(consumer: u64, back: oneshot::Sender<()>) -> Self {
        let canary = Some(Box::new(QueuedCanary { consumer, back }));
        Self { canary, ..Self::new(Box::default()) }
    }

    /// Returns whether the consumer may fetch the entry: no other consumer's canary, and nothing
    /// that it has declined.
    pub(super) fn is_for(&self, consumer: u64) -> bool {
        let is_own = |canary: &QueuedCanary| canary.consumer == consumer;
        self.canary.as_deref().is_none_or(is_own) && !self.is_declined_by(consumer)
    }

    /// Returns whether the entry is a canary of this consumer.
    pub(super) fn is_canary_of(&self, consumer: u64) -> bool {
        self.canary.as_deref().is_some_and(|canary| canary.consumer == consumer)
    }

    /// Returns whether the entry is a canary whose probe no longer waits.
    pub(super) fn is_abandoned_canary(&self) -> bool {
        self.canary.as_deref().is_some_and(|canary| canary.back.is_closed())
    }

    /// Returns whether the entry is the request of this call.
    pub(super) fn is_request_of(&self, call: &Abandoned) -> bool {
        is_request_of(&self.message, call)
    }

    /// Returns whether the consumer has declined the entry.
    pub(super) fn is_declined_by(&self, consumer: u64) -> bool {
        self.declines.as_ref().is_some_and(|declines| declines.consumers.contains(&consumer))
    }

    /// Records a decline of the consumer and its fault.
    pub(super) fn decline(&mut self, consumer: u64, fault: Box<Fault>) {
        match &mut self.declines {
            Some(declines) => {
                declines.consumers.push(consumer);
                declines.fault = fault;
            }
            None => self.declines = Some(Box::new(Declines { consumers: vec![consumer], fault })),
        }
    }

    /// Returns the message with the fault of the last decline.
    pub(super) fn into_orphan(self) -> Message {
        let fault = self.declines.map(|declines| declines.fault);
        Message { fault, ..*self.message }
    }

    /// Returns the sort key: higher priorities first, then lower positions.
    pub(super) fn rank(&self) -> (Reverse<u8>, u64) {
        (Reverse(self.message.priority.unwrap_or(0)), self.position)
    }

    /// Returns the entry of the next attempt.
    pub(super) fn next_attempt(self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), ..self }
    }
}

impl UnsettledEntry {
    /// Copies an entry, and takes its declines.
    pub(super) fn of(entry: &mut QueueEntry) -> Self {
        let QueueEntry { message, attempt, position, declines, .. } = entry;
        let message = Message::clone(message);
        Self { message, attempt: *attempt, position: *position, declines: declines.take() }
    }

    /// Returns the entry, to be queued again.
    pub(super) fn into_entry(self) -> QueueEntry {
        let Self { message, attempt, position, declines } = self;
        QueueEntry { message: Box::new(message), attempt, position, declines, canary: None }
    }

    /// Returns whether the entry is the request of this call.
    pub(super) fn is_request_of(&self, call: &Abandoned) -> bool {
        is_request_of(&self.message, call)
    }
}

fn is_request_of(message: &Message, call: &Abandoned) -> bool {
    message.id == Some(call.id) && message.reply_to.as_ref() == Some(&call.reply_to)
}
