//! Stored dead letters of one source.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::lock::lock;
use crate::message::Message;

/// Dead letters of one source, oldest first: at most [`CAPACITY`], and those that a
/// [`DeadLetterSession`](super::dead_letters::DeadLetterSession) returns.
#[derive(Default)]
pub(super) struct DeadLetterStore(Mutex<VecDeque<Message>>);

/// Bound of the memory that dead letters use.
const CAPACITY: usize = 1024;

impl DeadLetterStore {
    /// Adds a dead letter, and drops the oldest one if the store is full.
    pub(super) fn add(&self, message: Message) {
        let mut dead_letters = lock(&self.0);
        if dead_letters.len() >= CAPACITY {
            tracing::error!("dropped the oldest dead letter: the dead-letter queue is full");
            dead_letters.pop_front();
        }
        dead_letters.push_back(message);
    }

    /// Returns the number of dead letters.
    pub(super) fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// Takes the oldest dead letter.
    pub(super) fn take(&self) -> Option<Message> {
        lock(&self.0).pop_front()
    }

    /// Returns taken dead letters to the front, in their order.
    pub(super) fn put_back(&self, messages: impl DoubleEndedIterator<Item = Message>) {
        let mut dead_letters = lock(&self.0);
        for message in messages.rev() {
            dead_letters.push_front(message);
        }
    }
}
