//! Messages on their way when an endpoint handle or its transport ends.
//!
//! A message is lost without a word most easily in the last round trip: its sender has a success,
//! and the other end no longer receives it. These cases end workers, clients, pushers
//! and publishers under load, and compare what was reported with what had an effect, in an
//! [`OperationLog`](crate::OperationLog).

mod closing;
mod receivers;
mod runtimes;
mod senders;

pub use self::closing::{close_denies_no_call_that_was_taken, close_denies_no_job_that_was_taken};
pub use self::receivers::jobs_of_workers_that_end_are_done;
pub use self::runtimes::{
    call_after_the_end_of_its_runtime_is_closed, event_after_the_end_of_its_runtime_is_closed,
    job_after_the_end_of_its_runtime_is_closed,
};
pub use self::senders::{
    event_of_a_dropped_publisher_arrives, job_of_a_dropped_pusher_is_done,
    one_way_call_of_a_dropped_client_runs,
};
