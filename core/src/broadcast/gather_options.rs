//! The options of a gathering.

use std::time::Duration;

use crate::message::Deadline;

/// The conditions by which a gathering ends.
#[derive(Clone, Debug)]
pub(super) struct GatherOptions {
    pub(super) deadline: Deadline,
    /// The longest time between two outcomes.
    pub(super) gap: Option<Duration>,
    /// The number of outcomes.
    pub(super) count: Option<usize>,
    /// The number of replies.
    pub(super) quorum: Option<usize>,
    /// The ids of the instances that are waited for, in place of those that are there.
    pub(super) expected: Option<Vec<String>>,
    /// Set if the caller named them: others may run the call as well.
    pub(super) is_set_named: bool,
}
