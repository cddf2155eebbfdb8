//! The parameters of a run.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The parameters of a run.
///
/// One plan is for one run: one scenario, with one kind of queues. With one seed, the random times
/// of two runs are the same; those of the machine are not.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "made by the programs of this package alone")]
pub struct Plan {
    /// The size of the load, and the number of disturbances.
    pub size: Size,
    /// The kind of the queues.
    pub mode: Mode,
    /// The seed of random times: the same seed brings the same times. The command line has the
    /// default 2014, and the tests have 1.
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
///
/// Reply queues and exclusive queues are classic in both modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum Mode {
    /// Classic queues, on one node.
    Classic,
    /// Quorum queues, replicated on all nodes. A scenario without a cluster has a single replica.
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
    ///
    /// The URL must not have parameters yet.
    #[must_use]
    pub fn url(&self, broker: &str) -> String {
        let batch = if std::env::var_os(BATCHED).is_some() { "&batch=auto" } else { "" };
        format!("{broker}?queue_kind={}{batch}", self.mode)
    }
}

/// The variable with which calls leave in batches.
const BATCHED: &str = "POLYWIRE_AMQP_BATCHED";

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        })
    }
}
