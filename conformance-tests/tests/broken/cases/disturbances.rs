//! Flaws of links that are cut, and of brokers that go away.

use crate::caught::caught;
use crate::flaws::abandoning::AbandonsWhenCut;
use crate::flaws::deliveries::SilentAfterTheFirst;
use crate::flaws::links::{
    DeliversHalves, DeliversStaleBodies, DeniesSending, FallsSilent, IgnoresHooks, NeverReconnects,
    RepeatsUnderAnotherId,
};
use crate::flaws::outages::{
    BlocksTheThread, ConfirmsPublishesTooEarly, ConfirmsPushesTooEarly, ForgetsFilters,
    ForgetsOnRestart, LosesSomeAfterCut, RequeuesLate,
};

caught! {
    link_that_stays_cut: NeverReconnects::default(),
        "links.calls_work_again_after_the_link_was_cut", "the server is reached again";
    calls_that_hang_when_cut: FallsSilent::default(),
        "links.calls_in_flight_end_when_the_link_is_cut", "ends well before its deadline";
    handlers_stopped_by_a_cut: AbandonsWhenCut::default(),
        "links.handlers_run_on_when_the_link_is_cut", "1 handlers were dropped";
    silence_after_a_black_hole: FallsSilent::default(),
        "links.a_black_hole_ends_calls_by_their_deadline", "the server is reached again";
    black_hole_without_effect: IgnoresHooks,
        "links.a_black_hole_ends_calls_by_their_deadline", "a call ended with Ok(1)";
    halves_taken_for_whole: DeliversHalves::default(),
        "links.a_frame_cut_in_the_middle_harms_no_other_client", "a call that was cut in the middle ended with Err(Fault";

    no_reconnection_to_restarted_broker: NeverReconnects::default(),
        "brokers.served_again_after_a_restart_of_the_broker", "the server is reached again";
    no_reconnection_to_revived_broker: NeverReconnects::default(),
        "brokers.a_dead_broker_ends_calls_by_their_deadline", "the server is reached again";
    no_replies_from_thawed_broker: FallsSilent::default(),
        "brokers.a_frozen_broker_ends_calls_by_their_deadline", "the server is reached again";

    no_jobs_after_a_cut: NeverReconnects::default(),
        "outages.worker_receives_again_after_a_cut", "after the disturbance, a job arrives";
    old_filters_after_a_cut: ForgetsFilters::default(),
        "outages.subscriber_receives_again_after_a_cut", "after the disturbance, an event arrives";
    pushes_confirmed_too_early: ConfirmsPushesTooEarly,
        "outages.a_black_hole_ends_pushes_in_time", "a push into a link that swallows everything succeeded";
    publishes_confirmed_too_early: ConfirmsPublishesTooEarly,
        "outages.a_black_hole_ends_pushes_in_time", "a publish into a link that swallows everything succeeded";
    no_jobs_after_a_black_hole: NeverReconnects::default(),
        "outages.a_black_hole_ends_pushes_in_time", "after the disturbance, a job arrives";
    jobs_of_the_dead_that_come_late: RequeuesLate,
        "outages.job_of_a_killed_worker_comes_back_in_time", "came back after 20";
    jobs_lost_by_a_restart: ForgetsOnRestart::default(),
        "outages.jobs_outlive_a_restart_of_the_broker", "the outcomes and the effects disagree";
    channel_that_stays_closed: SilentAfterTheFirst,
        "outages.worker_that_holds_a_job_too_long_receives_again", "a job arrives in time";

    @slow jobs_lost_after_a_cut: LosesSomeAfterCut::default(),
        "outages.no_acknowledged_job_is_lost_over_a_cut", "the outcomes and the effects disagree";
    @slow events_lost_in_silence: LosesSomeAfterCut::default(),
        "outages.event_of_a_cut_arrives_or_is_reported", "the outcomes and the effects disagree";
    @slow events_lost_after_a_cut: LosesSomeAfterCut::default(),
        "outages.no_acknowledged_event_is_lost_over_a_cut", "the outcomes and the effects disagree";

    @live denied_sending: DeniesSending::default(),
        "links.no_acknowledged_call_is_lost_over_a_cut", "the outcomes and the effects disagree";
    @live stale_bodies: DeliversStaleBodies::default(),
        "links.no_acknowledged_call_is_lost_over_a_cut", "the outcomes and the effects disagree";
    @live repeated_under_another_id: RepeatsUnderAnotherId::default(),
        "links.suppressed_duplicate_is_run_once_over_a_cut", "a server that deduplicates ran a request twice";
    @live blocked_thread_of_calls: BlocksTheThread::default(),
        "links.a_black_hole_ends_calls_by_their_deadline", "calls ended after";
    @live blocked_thread: BlocksTheThread::default(),
        "outages.a_black_hole_ends_pushes_in_time", "a push with a timeout of 2s ended after";
}
