//! Flaws of delayed retries and of dead letters.

use crate::caught::caught;
use crate::flaws::capabilities::{Claims, Overstated, RefusesAsConfig};
use crate::flaws::dead_letters::{
    DiscardsDeadLetters, ForgetsErrors, IgnoresPauses, LosesRead, LosesRedriven, RedrivesToAll,
    RetriesDeadLetters, ShowsNoneOfUnknown,
};
use crate::flaws::settling::{BlamesAll, CannotCount};

caught! {
    ignored_pauses: IgnoresPauses,
        "retries.failed_job_comes_again_after_its_pause", "job 1 was to wait, and came before job 1";
    forgotten_errors: ForgetsErrors,
        "retries.exhausted_job_is_kept_with_its_history", "its first error was \"attempt 1\", and is kept as None";
    discarded_dead_letters: DiscardsDeadLetters,
        "retries.exhausted_job_is_kept_with_its_history", "the job is not among the dead letters";
    discarded_unreadable_jobs: DiscardsDeadLetters,
        "retries.unreadable_job_is_kept", "the job is not among the dead letters";
    retried_for_good: RetriesDeadLetters::default(),
        "retries.permanent_fault_is_not_retried", "the handler ran 2 times";
    lost_when_redriven: LosesRedriven, "retries.redriven_job_comes_again", "a job arrives in time";
    lost_when_read: LosesRead,
        "retries.dead_letters_stay_until_they_are_discarded", "of 3 dead letters, look 1 found 0";
    misspelt_names_without_dead_letters: ShowsNoneOfUnknown,
        "retries.dead_letters_of_a_misspelt_name_are_refused",
        "look 1 at the queue invoces succeeded, with 0 dead letters";
    uncounted_deaths: CannotCount,
        "retries.job_that_ends_its_workers_is_kept", "worker 3 to die with it sees attempt 2";
    uncounted_deaths_among_others: CannotCount,
        "retries.jobs_beside_one_that_ends_its_workers_are_done", "8 workers died with a job";
    blame_for_all: BlamesAll,
        "retries.jobs_beside_one_that_ends_its_workers_are_done", "was held beside the one that ends its workers";
    redriven_to_all: RedrivesToAll::default(), "retries.redriven_event_goes_to_its_group_alone",
        "a subscriber outside the group was due to get 2, and got 1";
    dead_letters_refused_as_config: RefusesAsConfig("dead_letters"),
        "retries.what_is_lacking_is_unsupported", "dead_letters is lacking, and asking for it failed as Config";
    overstated_dead_letters: Overstated("dead_letters"),
        "retries.what_is_lacking_is_unsupported", "dead_letters is there, and asking for it failed as Unsupported";
    understated_dead_letters: Claims(|can| can.dead_letters = false),
        "retries.what_is_lacking_is_unsupported", "dead_letters is lacking, and asking for it succeeded";
    understated_settlement: Claims(|can| can.settlement = false),
        "retries.what_is_lacking_is_unsupported", "settlement is lacking, and asking for it succeeded";
}
