//! What happened to a message before it came here.

use std::fmt;
use std::time::SystemTime;

use bytestring::ByteString;

/// The failures of earlier attempts at a message, and whether it died of them and was sent on its
/// way again.
///
/// It travels with a message that was [given back](crate::transport::Outcome::Retry) with an error,
/// or [dead-lettered](crate::transport::Outcome::DeadLetter). What nothing happened to has none.
/// The texts are cut at [`History::ERROR_MAX`] bytes, since every hop pays for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// What the first attempt that said something said.
    pub first_error: Option<ByteString>,
    /// What the last one said.
    pub last_error: Option<ByteString>,
    /// How often it was dead and somebody sent it on its way again.
    pub redriven: u32,
    /// How it died, if it is a dead letter.
    pub death: Option<DeadLetterRecord>,
}

/// How a message died: when, after how many attempts, and why. What it said is in its [`History`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterRecord {
    /// Why.
    pub reason: DeadLetterReason,
    /// How often it was attempted since it was pushed or published, or was last redriven.
    pub attempts: u32,
    /// When, by the clock of whoever buried it.
    pub at: SystemTime,
}

impl DeadLetterRecord {
    /// A death at this time.
    #[must_use]
    pub const fn new(reason: DeadLetterReason, attempts: u32, at: SystemTime) -> Self {
        Self { reason, attempts, at }
    }
}

/// Why a message is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadLetterReason {
    /// Its last attempt failed, like those before.
    Exhausted,
    /// It came more often than it may, without a word of what became of it: it seems to end its
    /// workers.
    Crashed,
    /// It cannot be read, or asks for a method that nobody has.
    Unreadable,
    /// Its worker said that it never will be done.
    Refused,
    /// It was in its queue for longer than that keeps anything.
    Expired,
    /// It was one too many for its queue.
    Overflowed,
    /// Something that this version has no word for.
    Other,
}

impl DeadLetterReason {
    /// Its name on a wire.
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

    /// The reason of this name. One that is not known is [`DeadLetterReason::Other`].
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
    /// The most bytes of a text that says what went wrong.
    pub const ERROR_MAX: usize = 1024;

    /// Notes what an attempt said. Nothing is noted of one that said nothing.
    pub fn failed(&mut self, error: &ByteString) {
        if error.is_empty() {
            return;
        }
        let error = cut(error);
        self.first_error.get_or_insert_with(|| error.clone());
        self.last_error = Some(error);
    }

    /// Notes that it died now, of what the last attempt said.
    pub fn died(&mut self, reason: DeadLetterReason, attempts: u32, error: &ByteString) {
        self.failed(error);
        self.death = Some(DeadLetterRecord::new(reason, attempts, SystemTime::now()));
    }

    /// Notes that it is alive again.
    pub fn redriven(&mut self) {
        self.death = None;
        self.redriven = self.redriven.saturating_add(1);
    }
}

/// As much of a text as may travel, without half a character at its end.
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
        history.died(DeadLetterReason::Exhausted, 3, &"third".into());
        assert_eq!(history.first_error.as_ref().map(|error| error.len()), Some(History::ERROR_MAX));
        assert_eq!(history.last_error.as_deref(), Some("third"));
        let mut odd = History::default();
        odd.failed(&format!("x{}", "é".repeat(History::ERROR_MAX)).into());
        assert_eq!(odd.first_error.map(|error| error.len()), Some(History::ERROR_MAX - 1));
        history.redriven();
        assert_eq!((history.redriven, history.death), (1, None));
    }

    #[test]
    fn reasons_have_names() {
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
