//! Flaws of calls: replies, faults, answers, deadlines and chains.

use polywire_core::message::CallId;
use polywire_core::{Address, Deadline, Fault, Headers};

use crate::caught::caught;
use crate::flaws::abandoning::{AbandonsAll, AbandonsLate, LATE, NeverAbandons, NeverExpires};
use crate::flaws::calls::{
    ConfusesReplies, DisconnectsOnUnreadable, HearsTheFirst, LeaksAbandonedCalls,
    RemembersUnroutable, SendsWhenSettled,
};
use crate::flaws::declining::{DeliversDeclinedTwice, DropsDeclined};
use crate::flaws::deliveries::MissesTheFirst;
use crate::flaws::handlers::RequeuesPanics;
use crate::flaws::messages::{
    AltersFaults, AltersRequests, LosesFaults, LosesReplies, RepeatsReplies, RepeatsRequests,
    SwallowsUnroutable, Swaps,
};
use crate::flaws::settling::ForgetsToRequeue;

caught! {
    lost_replies: LosesReplies, "calls.replies_reach_their_calls", "is answered: DeadlineExceeded";
    repeated_replies: RepeatsReplies, "calls.replies_reach_their_calls", "replies came twice";
    repeated_requests: RepeatsRequests, "calls.each_request_runs_once", "1000 duplicated";
    replies_to_other_calls: Swaps(|one, other| std::mem::swap(&mut one.id, &mut other.id)),
        "calls.replies_reach_their_calls", "got the reply to call";
    replies_to_other_callers: Swaps(|one, other| std::mem::swap(&mut one.reply_to, &mut other.reply_to)),
        "calls.replies_reach_their_callers", "got the reply to caller";
    replies_to_other_handles: Swaps(|one, other| std::mem::swap(&mut one.id, &mut other.id)),
        "calls.calls_in_flight_can_be_awaited_later", "the handles gave 2 and 1";
    replies_to_the_latest_call: ConfusesReplies,
        "calls.abandoned_call_leaves_nothing_behind", "the next call got the reply 1";
    shortened_methods: AltersRequests(|request| {
        let last = request.method.as_ref().and_then(|method| method.as_str().rsplit('.').next());
        request.method = last.map(|name| Address::new(name.to_owned()).unwrap());
    }), "calls.nested_methods_are_found", "the call is answered: Fault";
    missed_early_requests: MissesTheFirst,
        "calls.requests_sent_after_bind_are_served", "the early call is answered: DeadlineExceeded";
    swallowed_unroutable: SwallowsUnroutable,
        "calls.unknown_service_is_unroutable", "a call without a server ended with";
    replies_to_the_first_requester: HearsTheFirst::default(),
        "calls.client_of_any_service_reaches_each", "the service any.two answers: DeadlineExceeded";
    unroutable_for_ever: RemembersUnroutable,
        "calls.call_waits_for_the_first_server", "the call that waits is answered: DeadlineExceeded";

    lost_details: AltersFaults(|fault| fault.details = Default::default()),
        "faults.faults_cross_whole", "arrived as Application: Épuisé: ";
    lost_kinds: AltersFaults(|fault| fault.kind.clear()), "faults.faults_cross_whole", "arrived as Application: : ";
    lost_mark_of_permanent_faults: AltersFaults(|fault| {
        *fault = Fault::new(fault.code, fault.message.clone());
    }),
        "faults.permanent_fault_stays_permanent", "fault 0 is permanent: sent as true, arrived as false";
    all_faults_permanent: AltersFaults(|fault| *fault = fault.clone().permanent()),
        "faults.permanent_fault_stays_permanent", "fault 1 is permanent: sent as false, arrived as true";
    lost_text_of_unknown_method: AltersFaults(|fault| fault.message.clear()),
        "faults.unknown_method_is_a_fault", "the fault does not name the method";
    lost_text_of_bad_arguments: AltersFaults(|fault| fault.message.clear()),
        "faults.bad_arguments_name_the_path", "the fault does not say where";
    lost_faults: LosesFaults,
        "faults.unreadable_arguments_are_a_fault", "garbage is answered: DeadlineExceeded";
    lost_text_of_foreign_format: AltersFaults(|fault| fault.message.truncate(9)),
        "faults.foreign_format_is_named", "the fault does not name application/json";
    lost_text_of_panic: AltersFaults(|fault| fault.message.clear()),
        "faults.panicking_handler_answers", "the fault does not hold the text of the panic";
    requeued_panics: RequeuesPanics,
        "faults.panicking_payload_answers_once", "the request whose handler panicked ran";
    lost_text_of_unencodable_result: AltersFaults(|fault| fault.message.clear()),
        "faults.unencodable_result_answers", "the fault does not say why";
    disconnection_by_one_reply: DisconnectsOnUnreadable,
        "faults.unreadable_reply_fails_its_call_alone", "the reply to another call went with it";

    lost_when_declined: DropsDeclined,
        "answers.declined_request_reaches_another_server", "a declined request is answered: DeadlineExceeded";
    unanswered_when_declined: DropsDeclined,
        "answers.request_that_all_decline_is_declined", "a request that all decline ended with DeadlineExceeded";
    declined_twice_by_each: DeliversDeclinedTwice,
        "answers.declined_request_goes_to_each_server_once", "the request went to the servers [";
    replies_after_the_early_one: RepeatsReplies,
        "answers.early_reply_does_not_end_the_handler", "late replies came for calls that were answered early";

    restarted_deadlines_of_queued_requests: AltersRequests(restart_deadline),
        "deadlines.expired_request_never_starts", "the handler ran 2 times for expired requests";
    lost_deadlines_of_running_requests: AltersRequests(|request| request.deadline = None),
        "deadlines.slow_handler_is_dropped", "the handler is dropped within";
    leaked_calls: LeaksAbandonedCalls,
        "deadlines.expired_calls_leave_room", "after 500 expired calls, call 0: DeadlineExceeded";
    lost_deadlines: AltersRequests(|request| request.deadline = None),
        "deadlines.deadline_travels", "the handler sees a deadline: nothing came";
    restarted_deadlines_of_waiting_requests: AltersRequests(restart_deadline),
        "deadlines.time_in_a_queue_counts", "the handler has 59";

    repeated_one_way_calls: RepeatsRequests,
        "one_way.each_runs_once_and_answers_nothing", "300 one-way calls ran 600 times";
    replies_to_one_way_calls: AltersRequests(|request| request.id = request.id.or(Some(CallId(1 << 60)))),
        "one_way.each_runs_once_and_answers_nothing", "replies came to one-way calls";
    one_way_calls_sent_when_settled: SendsWhenSettled,
        "one_way.sender_does_not_wait_for_the_handler", "a one-way call is sent before its handler ends";
    swallowed_one_way_calls: SwallowsUnroutable,
        "one_way.one_for_an_unknown_service_is_unroutable", "a one-way call without a server ended with Ok";
    forgotten_one_way_calls: ForgetsToRequeue,
        "one_way.one_of_a_dead_server_goes_on", "the one-way calls of the dead server run within";
    deadlines_of_one_way_calls: AltersRequests(|request| request.deadline = request.deadline.or(Some(Deadline::after_ms(0)))),
        "one_way.no_deadline_is_inherited", "the handler of the one-way call runs";
    lost_time_to_live: AltersRequests(|request| request.deadline = None),
        "one_way.expired_one_never_runs", "the expired one-way call ran 1 times";
    removed_when_expired: AltersRequests(|request| request.keep_expired = false),
        "one_way.expired_one_is_kept_if_it_asks", "an operation ends in time";

    lost_context: AltersRequests(|request| request.headers = Headers::new()),
        "chains.context_is_handed_on", "the trace came to the back server as [None, None, None]";
    abandoned_in_silence: NeverAbandons, "chains.abandoned_call_stops_the_whole_chain", "the back stops";
    abandoned_all_at_once: AbandonsAll, "chains.abandoned_call_stops_the_whole_chain", "the back stops";
    abandoned_late: AbandonsLate,
        "chains.abandoned_call_stops_the_whole_chain", "after its call was dropped, at best";
    passed_deadlines_in_silence: NeverAbandons,
        "deadlines.server_is_notified_when_a_deadline_passes", "the server learns";
    deadlines_told_as_cancels: NeverExpires,
        "deadlines.server_is_notified_when_a_deadline_passes", "the server learned false";
    restarted_deadlines: AltersRequests(restart_deadline),
        "chains.deadline_stops_the_whole_chain", "the deadlines along the chain are";
    late_deadlines: AltersRequests(|request| {
        if request.method.as_ref().is_some_and(|method| method.as_str() == "wait") {
            request.deadline = request.deadline.map(|deadline| Deadline::after(deadline.remaining() + LATE));
        }
    }), "chains.deadline_stops_the_whole_chain", "the handlers of the chain stopped";
}

fn restart_deadline(request: &mut polywire_core::Message) {
    request.deadline = Some(Deadline::after_ms(60_000));
}
