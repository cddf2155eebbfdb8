//! Failures of a command, each with its exit status.

use std::fmt;

use polywire::Error;
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

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Nothing(error.to_string())
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
