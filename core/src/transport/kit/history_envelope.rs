//! Histories of failures as plain data.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::cut_text::cut_text;
use crate::message::{DeadLetterReason, DeadLetterRecord, History};

/// History of a message as plain data, for any format of serde.
///
/// Error texts are cut at [`History::ERROR_MAX`] bytes in both directions, so that a history has a
/// bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HistoryEnvelope {
    /// First error text of an attempt.
    pub first_error: Option<String>,
    /// Last error text of an attempt.
    pub last_error: Option<String>,
    /// Number of redrives from a dead-letter queue.
    pub redriven: u32,
    /// Record of the dead-lettering, if the message is a dead letter.
    pub dead_letter: Option<DeadLetterEnvelope>,
}

/// Record of a dead-lettering as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DeadLetterEnvelope {
    /// Name of the reason; see [`DeadLetterReason::as_str`].
    pub reason: String,
    /// Number of attempts since the message was sent or last redriven.
    pub attempts: u32,
    /// Time of the dead-lettering, in milliseconds since 1970.
    pub at_ms: u64,
}

impl HistoryEnvelope {
    /// Copies a history.
    #[must_use]
    pub fn of(history: &History) -> Self {
        Self {
            first_error: history.first_error.as_deref().map(cut_text),
            last_error: history.last_error.as_deref().map(cut_text),
            redriven: history.redriven,
            dead_letter: history.dead_letter.as_ref().map(DeadLetterEnvelope::of),
        }
    }

    /// Returns the history.
    #[must_use]
    pub fn into_history(self) -> History {
        History {
            first_error: self.first_error.map(|error| cut_text(&error).into()),
            last_error: self.last_error.map(|error| cut_text(&error).into()),
            redriven: self.redriven,
            dead_letter: self.dead_letter.map(DeadLetterEnvelope::into_record),
        }
    }
}

impl DeadLetterEnvelope {
    /// Copies a record. A time before 1970 becomes 1970.
    #[must_use]
    pub fn of(record: &DeadLetterRecord) -> Self {
        let at = record.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            reason: record.reason.as_str().to_owned(),
            attempts: record.attempts,
            at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Returns the record. A reason that this version does not know is
    /// [`DeadLetterReason::Other`]; a time that the clock cannot express is 1970.
    #[must_use]
    pub fn into_record(self) -> DeadLetterRecord {
        let at = UNIX_EPOCH.checked_add(Duration::from_millis(self.at_ms)).unwrap_or(UNIX_EPOCH);
        DeadLetterRecord::new(DeadLetterReason::from_name(&self.reason), self.attempts, at)
    }
}
