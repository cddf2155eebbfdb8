//! Flaws of jobs.

use polywire_core::Headers;

use crate::caught::caught;
use crate::flaws::capabilities::IgnoresTheWindow;
use crate::flaws::closing::NeverCloses;
use crate::flaws::deliveries::{EndsAfterBadJobs, GhostConsumer, LastFirst, RequeuesGivenUp};
use crate::flaws::events::{LosesEvery, NeedsReceivers, NeverWaits, RepeatsSome};
use crate::flaws::hoarding::{Hoards, HoardsUnsettled};
use crate::flaws::messages::Alters;
use crate::flaws::settling::{
    CannotCount, ForgetsAcknowledgements, ForgetsTheMark, ForgetsToRequeue, IgnoresPriorities,
};

caught! {
    lost_jobs: LosesEvery::new(100), "pipeline.each_job_reaches_one_worker", "every job is done";
    repeated_jobs: RepeatsSome::default(),
        "pipeline.each_job_reaches_one_worker", "15 of 1500 jobs were done more than once";
    latest_job_first: LastFirst, "pipeline.jobs_keep_their_order", "job 0 was due, and 99 came";
    ignored_priorities: IgnoresPriorities,
        "pipeline.urgent_jobs_are_taken_first", "it was the turn of job 3, and 1 came";
    lost_headers: Alters(|job| job.headers = Headers::new()),
        "pipeline.headers_cross_with_the_job", "came as Headers";
    dropped_without_worker: NeedsReceivers::silently(),
        "pipeline.job_without_a_worker_waits_or_is_refused", "a job arrives in time";
    forgotten_jobs: ForgetsToRequeue, "pipeline.dropped_job_is_requeued", "a job arrives in time";
    unmarked_jobs: ForgetsTheMark, "pipeline.dropped_job_is_requeued", "is not marked so";
    uncounted_attempts: CannotCount,
        "pipeline.requeued_job_counts_its_attempts", "attempt 3 counts as number 2";
    redelivered_settled_jobs: ForgetsAcknowledgements, "pipeline.settled_job_is_gone", "the settled job";
    unmarked_jobs_of_dead_worker: ForgetsTheMark,
        "pipeline.jobs_of_a_dead_worker_go_on", "is not marked as redelivered";
    hoarded_jobs: IgnoresTheWindow,
        "pipeline.window_bounds_the_jobs_taken", "a third job came through a window of two";
    jobs_beside_the_window: Hoards,
        "pipeline.window_leaves_many_jobs_to_others", "one puller holds 2 of 1000 jobs, and 0 came";
    unsettled_jobs_beside_the_window: HoardsUnsettled,
        "pipeline.window_leaves_many_jobs_to_others", "20000 jobs of 4 KiB were taken";
    pushes_that_never_wait: NeverWaits, "pipeline.worker_that_does_not_read_loses_nothing", "is lost";
    forgotten_retries: ForgetsToRequeue,
        "pipeline.failing_job_is_tried_again_and_then_discarded", "the job is discarded within";
    end_after_bad_job: EndsAfterBadJobs,
        "pipeline.bad_jobs_leave_the_worker_at_work", "the good job is done within";
    requeued_when_given_up: RequeuesGivenUp::default(),
        "pipeline.panicking_payload_of_a_job_runs_once", "the job whose handler panicked ran";
    ghost_consumer: GhostConsumer, "pipeline.draining_worker_finishes_what_runs", "a job arrives in time";
    endless_pushing: NeverCloses,
        "pipeline.close_ends_pulling_and_pushing", "a push after closing ended with Ok";
}
