//! Jobs and events over links that are cut, and over brokers that go away.
//!
//! These cases need [hooks](crate::Hook). Under a load, each operation is entered into an
//! [`OperationLog`](crate::OperationLog): every acknowledged operation must have its effect, and no
//! operation that failed as unsent may have one. An operation with another error may go either way.

mod black_hole;
pub(super) mod cuts;
mod events;
mod jobs;
mod recovery;

pub use self::black_hole::a_black_hole_ends_pushes_in_time;
pub use self::events::{
    event_of_a_cut_arrives_or_is_reported, no_acknowledged_event_is_lost_over_a_cut,
    subscriber_receives_again_after_a_cut,
};
pub use self::jobs::{
    job_of_a_killed_worker_comes_back_in_time, jobs_outlive_a_restart_of_the_broker,
    no_acknowledged_job_is_lost_over_a_cut, worker_receives_again_after_a_cut,
    worker_that_holds_a_job_too_long_receives_again,
};
