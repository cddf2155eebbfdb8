//! Identifiers of calls.

use std::fmt;

/// Identifier of a call, unique among the calls of one requester.
///
/// A requester counts ids up and never reuses one. A late reply to an abandoned call is therefore
/// never taken for the reply to a newer call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
