//! The time limit of waits.

use std::time::Duration;

/// Time limit of a wait, which only a hanging test exceeds.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
