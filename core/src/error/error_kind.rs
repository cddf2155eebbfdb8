//! Kinds of the errors of this side.

use std::fmt;

/// The kind of an [`Error`](crate::Error), for code to branch on.
///
/// [`Display`](fmt::Display) writes a kind as lower-case words, which stay the same from release
/// to release: use them as labels of metrics and in logs.
///
/// ```
/// use polywire_core::ErrorKind;
///
/// assert_eq!(ErrorKind::RepliesLost.to_string(), "replies lost");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The endpoint handle, or its transport, is closed. Displayed as "closed".
    Closed,
    /// A value cannot be encoded, or bytes cannot be decoded. Displayed as "codec".
    Codec,
    /// A setting of the program is malformed: a URL, an address, an option. Displayed as "config".
    Config,
    /// The time limit passed before the operation was complete. Displayed as "deadline exceeded".
    DeadlineExceeded,
    /// The peer knows this client and refuses it: wrong credentials, or no permission. Displayed
    /// as "denied".
    Denied,
    /// There is no connection: the transport could not connect in time, or lost the connection.
    /// Displayed as "disconnected".
    Disconnected,
    /// A bound is reached: too many calls are in flight here, or a queue is full. Displayed as
    /// "overloaded".
    Overloaded,
    /// The broker or the peer received the message and refused it. Displayed as "rejected".
    Rejected,
    /// The request was sent, and the way back for its reply is lost. The request may or may not
    /// have been processed. Displayed as "replies lost".
    RepliesLost,
    /// A message is larger than a limit allows. Displayed as "too large".
    TooLarge,
    /// No consumer exists for the message. Displayed as "unroutable".
    Unroutable,
    /// The backend lacks the capability, and fails instead of doing less. Displayed as
    /// "unsupported".
    Unsupported,
}

impl ErrorKind {
    /// All kinds.
    const ALL: [Self; 12] = [
        Self::Closed,
        Self::Codec,
        Self::Config,
        Self::DeadlineExceeded,
        Self::Denied,
        Self::Disconnected,
        Self::Overloaded,
        Self::Rejected,
        Self::RepliesLost,
        Self::TooLarge,
        Self::Unroutable,
        Self::Unsupported,
    ];

    /// Returns the kind that is displayed in these words, if there is one.
    pub(crate) fn from_words(words: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.to_string() == words)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Codec => "codec",
            Self::Config => "config",
            Self::DeadlineExceeded => "deadline exceeded",
            Self::Denied => "denied",
            Self::Disconnected => "disconnected",
            Self::Overloaded => "overloaded",
            Self::Rejected => "rejected",
            Self::RepliesLost => "replies lost",
            Self::TooLarge => "too large",
            Self::Unroutable => "unroutable",
            Self::Unsupported => "unsupported",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_displayed_as_stable_lower_case_words() {
        for (kind, words) in [
            (ErrorKind::Closed, "closed"),
            (ErrorKind::Codec, "codec"),
            (ErrorKind::Config, "config"),
            (ErrorKind::DeadlineExceeded, "deadline exceeded"),
            (ErrorKind::Denied, "denied"),
            (ErrorKind::Disconnected, "disconnected"),
            (ErrorKind::Overloaded, "overloaded"),
            (ErrorKind::Rejected, "rejected"),
            (ErrorKind::RepliesLost, "replies lost"),
            (ErrorKind::TooLarge, "too large"),
            (ErrorKind::Unroutable, "unroutable"),
            (ErrorKind::Unsupported, "unsupported"),
        ] {
            assert_eq!(kind.to_string(), words);
            assert_eq!(ErrorKind::from_words(words), Some(kind));
        }
        assert_eq!(ErrorKind::from_words("teapot"), None);
    }
}
