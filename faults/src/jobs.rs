//! A load of jobs, each with a number.

/// The queue that they are pushed into.
pub(crate) const QUEUE: &str = "sums";
