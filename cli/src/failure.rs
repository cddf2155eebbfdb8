//! Failures of a command, each with its exit status.

use std::fmt;

use polywire::{Error, ErrorKind};
use serde_json::Value;

/// Failure of a command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The peer answered with a fault.
    Fault(Value),
    /// The command line cannot be used.
    Usage(String),
    /// Nothing came of the command: no connection, no server, no reply.
    Nothing(String),
}

impl Failure {
    /// Returns the exit status: 1 for a fault, 2 for wrong usage, 3 for nothing.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Fault(_) => 1,
            Self::Usage(_) => 2,
            Self::Nothing(_) => 3,
        }
    }
}

/// A name or an argument that the wire cannot express is wrong usage.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Config if error.is_unsent() => Self::Usage(error.to_string()),
            _ => Self::Nothing(error.to_string()),
        }
    }
}

/// Writes a fault as one line of JSON, and any other failure in words.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Usage(cause) | Self::Nothing(cause) => write!(f, "polywire: {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_the_wire_cannot_express_is_wrong_usage() {
        for (kind, is_unsent, code) in [
            (ErrorKind::Config, true, 2),
            (ErrorKind::Config, false, 3),
            (ErrorKind::Unroutable, true, 3),
        ] {
            let error = Error::new(kind, "cannot send the call");
            let error = if is_unsent { error.unsent() } else { error };
            assert_eq!(Failure::from(error).code(), code, "{kind:?}");
        }
    }
}
