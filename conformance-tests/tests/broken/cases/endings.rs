//! Flaws of what is under way when a handle or a transport ends.

use crate::caught::caught;
use crate::flaws::endings::{
    BuffersUntilDropped, DeniesWhenClosing, LosesWhatItFetched, QueuesForEver, WaitsForEver,
};

caught! {
    one_way_calls_in_a_lost_buffer: BuffersUntilDropped,
        "endings.one_way_call_of_a_dropped_client_runs", "6 lost";
    jobs_in_a_lost_buffer: BuffersUntilDropped,
        "endings.job_of_a_dropped_pusher_is_done", "6 lost";
    events_in_a_lost_buffer: BuffersUntilDropped,
        "endings.event_of_a_dropped_publisher_arrives", "6 lost";
    one_way_calls_queued_without_a_runtime: QueuesForEver,
        "endings.call_after_the_end_of_its_runtime_is_closed", "the outcomes and the effects disagree";
    one_way_calls_waiting_for_a_runtime: WaitsForEver,
        "endings.call_after_the_end_of_its_runtime_is_closed", "a one-way call ends at once within";
    jobs_queued_without_a_runtime: QueuesForEver,
        "endings.job_after_the_end_of_its_runtime_is_closed", "the outcomes and the effects disagree";
    jobs_waiting_for_a_runtime: WaitsForEver,
        "endings.job_after_the_end_of_its_runtime_is_closed", "a push ends at once within";
    events_queued_without_a_runtime: QueuesForEver,
        "endings.event_after_the_end_of_its_runtime_is_closed", "the outcomes and the effects disagree";
    events_waiting_for_a_runtime: WaitsForEver,
        "endings.event_after_the_end_of_its_runtime_is_closed", "publishing ends at once within";

    @slow jobs_that_were_fetched: LosesWhatItFetched,
        "endings.jobs_of_workers_that_end_are_done", "the outcomes and the effects disagree";
    @slow calls_denied_by_a_close: DeniesWhenClosing::default(),
        "endings.close_denies_no_call_that_was_taken", "the outcomes and the effects disagree";
    @slow jobs_denied_by_a_close: DeniesWhenClosing::default(),
        "endings.close_denies_no_job_that_was_taken", "the outcomes and the effects disagree";
}
