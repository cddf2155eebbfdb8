//! Dead letters: messages that failed for good.

use std::time::SystemTime;

use serde::de::DeserializeOwned;

use crate::dialect::Dialect;
use crate::error::Result;
use crate::message::{DeadLetterReason, DeadLetterRecord, History, Message, MessageId};

/// Message that failed for good, with the history of its failures.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    message: Message,
}

impl DeadLetter {
    pub(super) fn new(message: Message) -> Self {
        Self { message }
    }

    /// Returns the reason of the dead-lettering.
    #[must_use]
    pub fn reason(&self) -> DeadLetterReason {
        self.record().map_or(DeadLetterReason::Other, |record| record.reason)
    }

    /// Returns the number of attempts since the message was sent or last redriven.
    ///
    /// A broker that dead-letters by itself, such as at its delivery limit, does not pass on how
    /// often it has delivered the message: then the number is that of the backend, at least 1.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.record().map_or(0, |record| record.attempts)
    }

    /// Returns the time of the dead-lettering, by the clock of the process or broker that
    /// dead-lettered the message.
    #[must_use]
    pub fn at(&self) -> Option<SystemTime> {
        self.record().map(|record| record.at)
    }

    /// Returns the first error text of an attempt.
    #[must_use]
    pub fn first_error(&self) -> Option<&str> {
        self.history()?.first_error.as_deref()
    }

    /// Returns the last error text of an attempt.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.history()?.last_error.as_deref()
    }

    /// Returns the number of times the message was redriven before.
    #[must_use]
    pub fn redriven(&self) -> u32 {
        self.history().map_or(0, |history| history.redriven)
    }

    /// Returns the id of the message, which its handlers got as
    /// [`Context::message_id`](crate::Context::message_id), and get again after a redrive.
    #[must_use]
    pub fn message_id(&self) -> Option<MessageId> {
        self.message.id_for_receiver()
    }

    /// Returns the message: its topic or method, its headers, its body.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Decodes the value of the message.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if the message cannot be decoded, which may be
    /// the reason of its dead-lettering.
    pub fn read<V: DeserializeOwned>(&self, dialect: &impl Dialect) -> Result<V> {
        dialect.decode_call(&self.message)
    }

    fn history(&self) -> Option<&History> {
        self.message.history.as_deref()
    }

    fn record(&self) -> Option<&DeadLetterRecord> {
        self.history()?.dead_letter.as_ref()
    }
}
