//! The suite can fail: backends that are broken on purpose, each caught by the case that is about
//! it, in a sentence that tells what is wrong.
//!
//! The clock is paused where it can be, so a case that waits in vain ends at once, and never by the
//! time that bounds all cases.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod answering;
mod backend;
mod closing;
mod dying;
mod ends;
mod events;
mod links;
mod messages;
mod work;

use bytes::Bytes;
use polywire_conformance::{Case, Outcome, Suite, cases};
use polywire_core::{Deadline, Headers};

use self::answering::{AsksAgain, DropsDeclined, LATE, SaysNothing, StopsAll, TellsLate};
use self::backend::{Broken, Flaw, Least, Sound};
use self::closing::{DeliversAfterClose, HangsOnClose, NeverCloses, NeverEnds};
use self::dying::{ForgetsStories, Hasty, LooksAway, LosesRedriven, Shouts, ThrowsAway};
use self::events::{
    DeafToChanges, ForgetsGroups, LosesSome, NeverWaits, NobodyShares, RepeatsSome, WantsTooLittle,
};
use self::links::{
    DeliversHalves, DeliversStaleBodies, DeniesSending, FallsSilent, NeverReconnects,
};
use self::messages::{
    Alters, Boundless, LosesReplies, RepeatsReplies, RepeatsRequests, SwallowsUnroutable, Swaps,
};
use self::work::{
    CannotCount, ForgetsAcknowledgements, ForgetsTheMark, ForgetsToRequeue, HurriesForNobody,
    IgnoresTheWindow, LeaksAbandonedCalls, NeverStops,
};

/// Runs a case on a backend with a flaw, and on one without.
async fn caught(flaw: impl Flaw, id: &str, sentence: &str) {
    let case: &Case = cases::ALL.iter().find(|case| case.id == id).unwrap();
    let sound = Suite::of(Broken(Sound)).run_case(case).await;
    assert!(sound.outcome.is_passed(), "without a flaw, it is {:?}", sound.outcome);
    let broken = Suite::of(Broken(flaw)).run_case(case).await;
    let Outcome::Failed(said) = broken.outcome else {
        panic!("the flaw was not seen: {:?}", broken.outcome)
    };
    assert!(said.contains(sentence), "it fails with another sentence: {said}");
}

macro_rules! caught {
    ($($name:ident: $flaw:expr, $case:literal, $sentence:literal;)+) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            caught($flaw, $case, $sentence).await;
        })+
    };
}

caught! {
    lost_replies: LosesReplies, "calls.replies_reach_their_calls", "is answered: DeadlineExceeded";
    repeated_replies: RepeatsReplies, "calls.replies_reach_their_calls", "replies came twice";
    repeated_requests: RepeatsRequests, "calls.each_request_runs_once", "1000 duplicated";
    answers_to_other_calls: Swaps(|one, other| std::mem::swap(&mut one.id, &mut other.id)),
        "calls.replies_reach_their_calls", "got the reply to call";
    answers_to_other_callers: Swaps(|one, other| std::mem::swap(&mut one.reply_to, &mut other.reply_to)),
        "calls.replies_reach_their_callers", "got the reply to caller";
    truncated_bodies: Alters(|request| {
        let body = std::mem::take(&mut request.body).into_bytes();
        request.body = body.slice(..body.len().min(65_535)).into();
    }), "bodies.every_size_arrives", "came back with 65535 bytes";
    garbled_bodies: Alters(|request| {
        let body = std::mem::take(&mut request.body).into_bytes();
        request.body = body.iter().map(|byte| byte & 0x7f).collect::<Bytes>().into();
    }), "bodies.every_size_arrives", "came back with other content";
    lost_when_declined: DropsDeclined,
        "answers.declined_request_reaches_another_server", "a declined request is answered: DeadlineExceeded";
    unanswered_when_declined: DropsDeclined,
        "answers.request_that_all_decline_is_declined", "what all decline ended with DeadlineExceeded";
    declined_twice_by_each: AsksAgain,
        "answers.declined_request_goes_to_each_server_once", "the servers that were asked are [";
    replies_after_the_early_one: RepeatsReplies,
        "answers.early_reply_does_not_end_the_handler", "replies came for calls that were answered early";
    abandoned_in_silence: SaysNothing, "chains.abandoned_call_stops_the_whole_chain", "the back stops";
    abandoned_all_at_once: StopsAll, "chains.abandoned_call_stops_the_whole_chain", "the back stops";
    abandoned_late: TellsLate, "chains.abandoned_call_stops_the_whole_chain", "after its call was dropped, at best";
    restarted_deadlines: Alters(|request| request.deadline = Some(Deadline::after_ms(60_000))),
        "chains.deadline_stops_the_whole_chain", "the deadlines along the chain are";
    late_ends: Alters(|request| {
        if request.method.as_ref().is_some_and(|method| method.as_str() == "wait") {
            request.deadline = request.deadline.map(|deadline| Deadline::after(deadline.remaining() + LATE));
        }
    }), "chains.deadline_stops_the_whole_chain", "what was called to answer it stopped";
    lost_headers: Alters(|request| request.headers = Headers::new()),
        "bodies.headers_and_names_survive", "the header \"tenant\" came back as None";
    lost_deadlines: Alters(|request| request.deadline = None),
        "deadlines.deadline_travels", "the handler sees a deadline: nothing came";
    bodies_without_bound: Boundless, "bodies.too_large_request_is_refused", "was not refused";
    swallowed_unroutable: SwallowsUnroutable, "calls.unknown_service_is_unroutable", "a call to nobody ended with";
    forgotten_requests: ForgetsToRequeue,
        "servers.requests_of_a_dead_server_go_on", "a call whose server died is answered: DeadlineExceeded";
    forgotten_acknowledgements: ForgetsAcknowledgements,
        "servers.request_run_at_most_once_goes_to_nobody_else", "the heir ran [";
    jobs_that_come_again: ForgetsAcknowledgements, "pipeline.settled_job_is_gone", "settled";
    forgotten_marks: ForgetsTheMark,
        "servers.requests_of_a_dead_server_go_on", "came as delivered for the first time";
    ignored_windows: IgnoresTheWindow,
        "servers.window_bounds_unsettled_deliveries", "a third request came through a window of two";
    endless_intake: NeverStops,
        "servers.draining_server_leaves_the_rest_to_others", "a draining server is answered by another: Fault";
    leaked_calls: LeaksAbandonedCalls,
        "deadlines.expired_calls_leave_room", "after 500 expired calls, call 0: DeadlineExceeded";
    hanging_close: HangsOnClose, "lifecycle.close_twice_is_close_once", "the first close ends at once";
    close_that_does_nothing: NeverCloses,
        "lifecycle.close_twice_is_close_once", "a call after closing ended with Ok(1)";
    receivers_that_never_end: NeverEnds,
        "lifecycle.close_wakes_pending_calls", "a pending call ends at once";
    delivery_after_close: DeliversAfterClose,
        "lifecycle.nothing_arrives_after_close", "a closed receiver yielded Ok(Delivery";
    link_that_stays_cut: NeverReconnects::default(),
        "links.calls_work_again_after_the_link_was_cut", "the server is reached again";
    calls_that_hang_when_cut: FallsSilent::default(),
        "links.calls_in_flight_end_when_the_link_is_cut", "ends well before its deadline";
    halves_taken_for_whole: DeliversHalves::default(),
        "links.a_frame_cut_in_the_middle_harms_nobody_else", "a call that was cut in the middle ended with Err(Fault";
    lost_jobs: LosesSome::default(), "pipeline.each_job_reaches_one_worker", "every job is worked off";
    repeated_jobs: RepeatsSome::default(),
        "pipeline.each_job_reaches_one_worker", "15 of 1500 jobs were worked off more than once";
    pushes_that_never_wait: NeverWaits, "pipeline.worker_that_does_not_read_loses_nothing", "is lost";
    forgotten_jobs: ForgetsToRequeue, "pipeline.dropped_job_is_requeued", "a job arrives in time";
    unmarked_jobs: ForgetsTheMark, "pipeline.dropped_job_is_requeued", "does not say so";
    uncounted_attempts: CannotCount, "pipeline.requeued_job_counts_its_attempts", "attempt 3 counts as number 2";
    ignored_priorities: HurriesForNobody, "pipeline.urgent_jobs_are_taken_first", "it was the turn of job 3, and 1 came";
    hoarded_jobs: IgnoresTheWindow,
        "pipeline.window_bounds_the_jobs_taken", "a third job came through a window of two";
    pauses_that_are_none: Hasty, "retries.failed_job_comes_again_after_its_pause", "job 1 was to wait, and came before job 1";
    forgotten_stories: ForgetsStories,
        "retries.exhausted_job_is_kept_with_its_story", "its first error was \"attempt 1\", and is told as None";
    thrown_away: ThrowsAway,
        "retries.exhausted_job_is_kept_with_its_story", "what died is not among the dead letters";
    unreadable_jobs_thrown_away: ThrowsAway,
        "retries.unreadable_job_is_kept", "what died is not among the dead letters";
    lost_when_redriven: LosesRedriven, "retries.redriven_job_comes_again", "a job arrives in time";
    lost_when_looked_at: LooksAway,
        "retries.dead_letters_stay_until_they_are_discarded", "of 3 dead letters, look 1 found 0";
    uncounted_deaths: CannotCount, "retries.job_that_ends_its_workers_is_kept", "worker 3 to die with it sees attempt 2";
    redriven_to_all: Shouts::default(),
        "retries.redriven_event_goes_to_its_group_alone", "who is not of the group was due 2, and got 1";
    lost_events: LosesSome::default(), "pubsub.many_publishers_reach_many_subscribers", "was due";
    repeated_events: RepeatsSome::default(), "pubsub.many_publishers_reach_many_subscribers", "was due";
    publishing_that_never_waits: NeverWaits, "pubsub.slow_subscriber_that_waits_misses_nothing", "is lost";
    narrow_filters: WantsTooLittle, "pubsub.filters_mean_what_they_say", "and got";
    fixed_filters: DeafToChanges, "pubsub.filters_change_while_running", "an event arrives in time";
    groups_that_do_not_share: NobodyShares, "pubsub.group_shares_its_events", "the members of a group got";
    groups_that_do_not_last: ForgetsGroups,
        "pubsub.durable_group_collects_while_away", "an event arrives in time";
    forgotten_events: ForgetsToRequeue, "pubsub.events_of_a_dead_member_go_on", "an event arrives in time";
}

// A load that never pauses lets no paused clock go on.
#[tokio::test]
async fn denied_sending() {
    let case = "links.no_acknowledged_call_is_lost_over_a_cut";
    caught(DeniesSending::default(), case, "what was promised and what was seen disagree").await;
}

#[tokio::test]
async fn stale_bodies() {
    let case = "links.no_acknowledged_call_is_lost_over_a_cut";
    caught(DeliversStaleBodies::default(), case, "what was promised and what was seen disagree")
        .await;
}

/// Else no backend that lacks it could be conformant.
#[tokio::test(start_paused = true)]
async fn the_minimum_asks_for_no_capability() {
    let report = Suite::of(Broken(Least)).run(|case| case.minimum).await;
    assert!(report.is_conformant(), "{report}");
}
