//! Failure history of messages.

use std::fmt;
use std::time::SystemTime;

use bytestring::ByteString;

/// Failures of earlier attempts at a message.
///
/// The history travels with a message that was [retried](crate::transport::Outcome::Retry) or
/// [dead-lettered](crate::transport::Outcome::DeadLetter). A message without failures has none.
/// Error texts are cut at [`History::ERROR_MAX`] bytes, since every hop copies them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// First non-empty error text of an attempt.
    pub first_error: Option<ByteString>,
    /// Last non-empty error text of an attempt.
    pub last_error: Option<ByteString>,
    /// Number of times the message was redriven from a dead-letter queue.
    pub redriven: u32,
    /// Record of the dead-lettering, if the message is a dead letter.
    pub dead_letter: Option<DeadLetterRecord>,
}

/// Record of a dead-lettering: reason, attempts and time. The error texts are in the [`History`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterRecord {
    /// Reason.
    pub reason: DeadLetterReason,
    /// Number of attempts since the message was sent or last redriven.
    pub attempts: u32,
    /// Time by the clock of the process or broker that dead-lettered the message.
    pub at: SystemTime,
}

impl DeadLetterRecord {
    /// Creates a record.
    #[must_use]
    pub const fn new(reason: DeadLetterReason, attempts: u32, at: SystemTime) -> Self {
        Self { reason, attempts, at }
    }
}

/// Reason why a message was dead-lettered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadLetterReason {
    /// All attempts failed.
    Exhausted,
    /// Delivery limit exceeded with no recorded outcome: the message seems to crash its workers.
    Crashed,
    /// The message cannot be decoded, or calls an unknown method.
    Unreadable,
    /// The worker dead-lettered the message on purpose.
    Refused,
    /// The message was in its queue for longer than the queue allows.
    Expired,
    /// The queue was full.
    Overflowed,
    /// A reason that this version does not know.
    Other,
}

impl DeadLetterReason {
    /// Returns the name of the reason on a wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Crashed => "crashed",
            Self::Unreadable => "unreadable",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Overflowed => "overflowed",
            Self::Other => "other",
        }
    }

    /// Returns the reason with this name. An unknown name is [`DeadLetterReason::Other`].
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let known = [
            Self::Exhausted,
            Self::Crashed,
            Self::Unreadable,
            Self::Refused,
            Self::Expired,
            Self::Overflowed,
        ];
        known.into_iter().find(|reason| reason.as_str() == name).unwrap_or(Self::Other)
    }
}

impl fmt::Display for DeadLetterReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl History {
    /// Longest error text: 1,024 bytes.
    pub const ERROR_MAX: usize = 1024;

    /// Sets the [first error text](Self::first_error), cut at [`History::ERROR_MAX`] bytes.
    ///
    /// A backend that decodes a history starts from the default, and sets each field:
    ///
    /// ```
    /// use bytestring::ByteString;
    /// use polywire_core::message::History;
    ///
    /// let first: Option<ByteString> = Some("timed out".into()); // as the wire had it
    /// let history = History::default().with_first_error(first).with_redriven(1);
    /// assert_eq!(history.first_error.as_deref(), Some("timed out"));
    /// ```
    #[must_use]
    pub fn with_first_error(self, error: impl Into<Option<ByteString>>) -> Self {
        Self { first_error: error.into().as_ref().map(cut), ..self }
    }

    /// Sets the [last error text](Self::last_error), cut at [`History::ERROR_MAX`] bytes.
    #[must_use]
    pub fn with_last_error(self, error: impl Into<Option<ByteString>>) -> Self {
        Self { last_error: error.into().as_ref().map(cut), ..self }
    }

    /// Sets the number of [redrives](Self::redriven).
    #[must_use]
    pub fn with_redriven(self, redriven: u32) -> Self {
        Self { redriven, ..self }
    }

    /// Sets the [record](Self::dead_letter) of the dead-lettering.
    #[must_use]
    pub fn with_dead_letter(self, record: impl Into<Option<DeadLetterRecord>>) -> Self {
        Self { dead_letter: record.into(), ..self }
    }

    /// Records the error of a failed attempt. An empty text is ignored.
    pub fn failed(&mut self, error: &ByteString) {
        if error.is_empty() {
            return;
        }
        let error = cut(error);
        self.first_error.get_or_insert_with(|| error.clone());
        self.last_error = Some(error);
    }

    /// Records that the message is dead-lettered now, with the error of its last attempt.
    pub fn dead_lettered(&mut self, reason: DeadLetterReason, attempts: u32, error: &ByteString) {
        self.failed(error);
        self.dead_letter = Some(DeadLetterRecord::new(reason, attempts, SystemTime::now()));
    }

    /// Records that the message is redriven.
    pub fn redriven(&mut self) {
        self.dead_letter = None;
        self.redriven = self.redriven.saturating_add(1);
    }
}

/// Cuts a text to [`History::ERROR_MAX`] bytes, at a character boundary.
fn cut(text: &ByteString) -> ByteString {
    if text.len() <= History::ERROR_MAX {
        return text.clone();
    }
    ByteString::from(&text[..text.floor_char_boundary(History::ERROR_MAX)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_error_are_kept_and_cut() {
        let mut history = History::default();
        history.failed(&"".into());
        assert_eq!(history, History::default());
        history.failed(&"é".repeat(History::ERROR_MAX).into());
        history.failed(&"second".into());
        history.dead_lettered(DeadLetterReason::Exhausted, 3, &"third".into());
        assert_eq!(history.first_error.as_ref().map(|error| error.len()), Some(History::ERROR_MAX));
        assert_eq!(history.last_error.as_deref(), Some("third"));
        let mut odd = History::default();
        odd.failed(&format!("x{}", "é".repeat(History::ERROR_MAX)).into());
        assert_eq!(odd.first_error.map(|error| error.len()), Some(History::ERROR_MAX - 1));
        history.redriven();
        assert_eq!((history.redriven, history.dead_letter), (1, None));
    }

    #[test]
    fn decoded_history_has_each_field_with_its_texts_cut() {
        let record = DeadLetterRecord::new(DeadLetterReason::Refused, 2, SystemTime::UNIX_EPOCH);
        let long = ByteString::from("x".repeat(History::ERROR_MAX + 1));
        let history = History::default()
            .with_first_error(long.clone())
            .with_last_error(long)
            .with_redriven(3)
            .with_dead_letter(record.clone());
        for error in [&history.first_error, &history.last_error] {
            assert_eq!(error.as_ref().map(|error| error.len()), Some(History::ERROR_MAX));
        }
        assert_eq!((history.redriven, history.dead_letter), (3, Some(record)));
    }

    #[test]
    fn reasons_are_found_by_their_names() {
        for reason in [
            DeadLetterReason::Exhausted,
            DeadLetterReason::Crashed,
            DeadLetterReason::Unreadable,
            DeadLetterReason::Refused,
            DeadLetterReason::Expired,
        ] {
            assert_eq!(DeadLetterReason::from_name(reason.as_str()), reason);
        }
        assert_eq!(DeadLetterReason::from_name("of old age"), DeadLetterReason::Other);
    }
}
