//! The reason why a scenario cannot run on a machine.

use std::fmt;

/// The reason why a scenario cannot run on this machine: neither a success nor a failure.
///
/// A scenario returns the reason as its error, and the report recognizes the type. The text names
/// the command that failed.
#[derive(Debug)]
pub(crate) struct NotRun(pub(crate) String);

impl fmt::Display for NotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotRun {}
