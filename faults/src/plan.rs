//! The parameters of a run.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The parameters of a run.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "made by the programs of this package alone")]
pub struct Plan {
    /// The size of the load, and the number of disturbances.
    pub size: Size,
    /// The kind of the queues.
    pub mode: Mode,
    /// The seed of random times: the same seed brings the same times.
    pub seed: u64,
    /// The duration of the soak scenario; the others ignore it.
    pub soak: Duration,
    /// The program that runs as a peer if [`peer::ARGUMENT`](crate::peer::ARGUMENT) comes first.
    pub program: PathBuf,
}

/// The size of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum Size {
    /// Short enough for a test.
    Quick,
    /// The whole scenario.
    Full,
}

/// The kind of the queues of services and jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum Mode {
    /// Classic queues, on one node.
    Classic,
    /// Quorum queues, replicated on all nodes.
    Quorum,
}

impl Plan {
    /// Returns one of two values, by size.
    #[must_use]
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        match self.size {
            Size::Quick => quick,
            Size::Full => full,
        }
    }

    /// Adds the kind of the queues to a URL.
    #[must_use]
    pub fn url(&self, broker: &str) -> String {
        format!("{broker}?queue_kind={}", self.mode)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        })
    }
}
