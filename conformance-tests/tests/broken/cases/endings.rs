//! Flaws of what is under way when a handle or a transport ends.

use crate::caught::caught;
use crate::flaws::endings::{BuffersUntilDropped, DeniesWhenClosing, LosesWhatItFetched};

caught! {
    one_way_calls_in_a_lost_buffer: BuffersUntilDropped,
        "endings.one_way_call_of_a_dropped_client_runs", "6 lost";
    jobs_in_a_lost_buffer: BuffersUntilDropped,
        "endings.job_of_a_dropped_pusher_is_done", "6 lost";
    events_in_a_lost_buffer: BuffersUntilDropped,
        "endings.event_of_a_dropped_publisher_arrives", "6 lost";

    @slow jobs_that_were_fetched: LosesWhatItFetched,
        "endings.jobs_of_workers_that_end_are_done", "the outcomes and the effects disagree";
    @slow calls_denied_by_a_close: DeniesWhenClosing::default(),
        "endings.close_denies_no_call_that_was_taken", "the outcomes and the effects disagree";
    @slow jobs_denied_by_a_close: DeniesWhenClosing::default(),
        "endings.close_denies_no_job_that_was_taken", "the outcomes and the effects disagree";
}
