//! Jobs, each for exactly one worker.
//!
//! A pusher puts jobs into a queue, and pullers or workers receive them. A backend that is
//! `holding` keeps jobs while no puller is there; others refuse them. A backend with `settlement`
//! redelivers a job that was not settled.

mod distribution;
mod settlement;
mod windows;
mod workers;

pub use self::distribution::{
    each_job_reaches_one_worker, headers_cross_with_the_job,
    job_without_a_worker_waits_or_is_refused, jobs_keep_their_order, urgent_jobs_are_taken_first,
};
pub use self::settlement::{
    dropped_job_is_requeued, jobs_of_a_dead_worker_go_on, requeued_job_counts_its_attempts,
    settled_job_is_gone, window_bounds_the_jobs_taken, worker_that_does_not_read_loses_nothing,
};
pub use self::windows::window_leaves_many_jobs_to_others;
pub use self::workers::{
    bad_jobs_leave_the_worker_at_work, close_ends_pulling_and_pushing,
    draining_worker_finishes_what_runs, failing_job_is_tried_again_and_then_discarded,
    panicking_payload_of_a_job_runs_once,
};
