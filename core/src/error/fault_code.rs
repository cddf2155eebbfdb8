//! Codes of faults.

use std::fmt;

/// The code of a [`Fault`](crate::Fault): how the call failed at the peer.
///
/// [`Display`](fmt::Display) writes a code as lower-case words for people. Wires carry the
/// [name](Self::as_str) or the [number](Self::as_u8) instead.
///
/// ```
/// use polywire_core::Code;
///
/// assert_eq!(Code::MethodNotFound.to_string(), "method not found");
/// assert_eq!(Code::MethodNotFound.as_str(), "MethodNotFound");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The method ran and refused: an expected failure of the application. Displayed as
    /// "application".
    Application,
    /// The peer does not know the caller, or the caller lacks the permission. Displayed as
    /// "denied".
    Denied,
    /// The peer ran out of the caller's time. Displayed as "deadline exceeded".
    DeadlineExceeded,
    /// Every server that got the request declined it, so that nothing was run; see
    /// [`Fault::declined`](crate::Fault::declined). Displayed as "declined".
    Declined,
    /// The method panicked, or its result cannot be encoded: a bug at the peer. Displayed as
    /// "internal".
    Internal,
    /// The call may have been run, in full or in part, and is not run again: its server was lost,
    /// or another delivery of it had begun; see [`at_most_once`](crate::at_most_once).
    /// Displayed as "interrupted".
    Interrupted,
    /// The arguments are not those of the method. Displayed as "invalid arguments".
    InvalidArguments,
    /// The service has no method of that name. Displayed as "method not found".
    MethodNotFound,
    /// The server cannot process the call now, because it drains or is overloaded. Another
    /// server may. Displayed as "unavailable".
    Unavailable,
}

impl Code {
    /// All codes, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Application,
        Self::DeadlineExceeded,
        Self::Internal,
        Self::InvalidArguments,
        Self::MethodNotFound,
        Self::Unavailable,
        Self::Denied,
        Self::Declined,
        Self::Interrupted,
    ];

    /// Returns the name of the code, as wires with text carry it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Application => "Application",
            Self::Denied => "Denied",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Declined => "Declined",
            Self::Internal => "Internal",
            Self::Interrupted => "Interrupted",
            Self::InvalidArguments => "InvalidArguments",
            Self::MethodNotFound => "MethodNotFound",
            Self::Unavailable => "Unavailable",
        }
    }

    /// Returns the code of that name.
    ///
    /// A name that a newer peer sent is [`Code::Internal`]: the call failed, for a reason that
    /// this version does not know.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|code| code.as_str() == name).unwrap_or(Self::Internal)
    }

    /// Returns the number of the code, as compact wires carry it.
    #[must_use]
    pub fn as_u8(self) -> u8 {
        match self {
            Self::Application => 1,
            Self::DeadlineExceeded => 2,
            Self::Internal => 3,
            Self::InvalidArguments => 4,
            Self::MethodNotFound => 5,
            Self::Unavailable => 6,
            Self::Denied => 7,
            Self::Declined => 8,
            Self::Interrupted => 9,
        }
    }

    /// Returns the code of that number. A number that a newer peer sent is [`Code::Internal`].
    #[must_use]
    pub fn from_u8(number: u8) -> Self {
        Self::ALL.into_iter().find(|code| code.as_u8() == number).unwrap_or(Self::Internal)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Application => "application",
            Self::Denied => "denied",
            Self::DeadlineExceeded => "deadline exceeded",
            Self::Declined => "declined",
            Self::Internal => "internal",
            Self::Interrupted => "interrupted",
            Self::InvalidArguments => "invalid arguments",
            Self::MethodNotFound => "method not found",
            Self::Unavailable => "unavailable",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_both_spellings() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.as_str()), code);
            assert_eq!(Code::from_u8(code.as_u8()), code);
        }
    }

    #[test]
    fn unknown_codes_are_internal() {
        assert_eq!(Code::from_name("Teapot"), Code::Internal);
        assert_eq!(Code::from_u8(200), Code::Internal);
    }

    #[test]
    fn codes_are_displayed_as_their_names_in_lower_case_words() {
        for code in Code::ALL {
            let letters = code.to_string().replace(' ', "");
            assert_eq!(letters, code.as_str().to_lowercase());
        }
    }
}
