//! Failed work: delayed retries and dead letters.
//!
//! A failed job is retried after a pause, and dead-lettered after its last attempt. Its history,
//! with the number of attempts and their errors, travels with it. A dead letter stays until it is
//! redriven or discarded.

mod attempts;
mod dead_jobs;
mod dead_letters;
mod lacking;
mod poison;

pub use self::attempts::{
    exhausted_job_is_kept_with_its_history, failed_job_comes_again_after_its_pause,
    job_that_ends_its_workers_is_kept, permanent_fault_is_not_retried, unreadable_job_is_kept,
};
pub(super) use self::dead_jobs::{dead_jobs, only, within_patience};
pub use self::dead_letters::{
    dead_letters_of_a_misspelt_name_are_refused, dead_letters_stay_until_they_are_discarded,
    redriven_event_goes_to_its_group_alone, redriven_job_comes_again,
};
pub use self::lacking::what_is_lacking_is_unsupported;
pub use self::poison::jobs_beside_one_that_ends_its_workers_are_done;
