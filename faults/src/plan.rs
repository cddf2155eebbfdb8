//! How a scenario is to be run.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How a scenario is to be run.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "made by the programs of this package alone")]
pub struct Plan {
    /// How much of it.
    pub size: Size,
    /// Which kind the queues are of.
    pub mode: Mode,
    /// What its dice start with: the same number brings the same moments.
    pub seed: u64,
    /// How long the soak lasts; nothing else asks.
    pub soak: Duration,
    /// The program that plays the peers, with [`peer::ARGUMENT`](crate::peer::ARGUMENT) first.
    pub program: PathBuf,
}

/// How much of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum Size {
    /// What a test has time for.
    Quick,
    /// All of it.
    Full,
}

/// Which kind the queues of services and of jobs are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum Mode {
    /// On one node.
    Classic,
    /// On as many nodes as there are.
    Quorum,
}

impl Plan {
    /// The one or the other, by size.
    #[must_use]
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        match self.size {
            Size::Quick => quick,
            Size::Full => full,
        }
    }

    /// A URL that also says which kind the queues are of.
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
