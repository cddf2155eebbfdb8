//! Stored dead letters of one source.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::lock::lock;
use crate::message::Message;
use crate::transport::{DeadLetterSource, LogThrottle};

/// Dead letters of one source, oldest first: at most [`CAPACITY`], and those that a
/// [`DeadLetterSession`](super::dead_letters::DeadLetterSession) returns.
#[derive(Default)]
pub(super) struct DeadLetterStore {
    /// The source, for the log. Exclusive subscribers have none, and no dead letters.
    source: Option<DeadLetterSource>,
    messages: Mutex<VecDeque<Message>>,
    /// Throttle for the log line of dropped dead letters.
    dropped: LogThrottle,
}

/// Bound of the memory that dead letters use.
const CAPACITY: usize = 1024;

impl DeadLetterStore {
    /// Creates an empty store of the dead letters of `source`.
    pub(super) fn new(source: DeadLetterSource) -> Self {
        Self { source: Some(source), ..Self::default() }
    }

    /// Adds a dead letter, and drops the oldest one if the store is full.
    pub(super) fn add(&self, message: Message) {
        let mut dead_letters = lock(&self.messages);
        if dead_letters.len() >= CAPACITY {
            if let Some(count) = self.dropped.note() {
                tracing::error!(
                    dead_letters_of = self.source.as_ref().map(display),
                    count,
                    "dropped the oldest dead letters: the dead-letter queue is full"
                );
            }
            dead_letters.pop_front();
        }
        dead_letters.push_back(message);
    }

    /// Returns the number of dead letters.
    pub(super) fn len(&self) -> usize {
        lock(&self.messages).len()
    }

    /// Takes the oldest dead letter.
    pub(super) fn take(&self) -> Option<Message> {
        lock(&self.messages).pop_front()
    }

    /// Returns taken dead letters to the front, in their order.
    pub(super) fn put_back(&self, messages: impl DoubleEndedIterator<Item = Message>) {
        let mut dead_letters = lock(&self.messages);
        for message in messages.rev() {
            dead_letters.push_front(message);
        }
    }
}
