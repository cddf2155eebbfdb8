//! The list of all cases.

use super::{
    answers, at_most_once, bodies, broadcasts, brokers, budget, calls, chains, codecs, deadlines,
    endings, faults, handlers, health, instances, lifecycle, links, long_names, message_ids,
    one_way, outages, pipeline, pubsub, redelivery, retries, send_options, servers,
};
use crate::case::Case;

/// Calls the macro `$then` with the list of cases, after `$given`: one list for all uses.
///
/// Each line is the set, the function and the sentence of a case. A case of the set `minimum`
/// belongs to the minimum set. A case of the set `optional` asks for a capability or a hook.
///
/// The order of the list is the order of reports. The id of a case is `GROUP.FUNCTION`, and `GROUP`
/// is its module in [`cases`](crate::cases).
#[doc(hidden)]
#[macro_export]
macro_rules! each_case {
    ($then:ident $($given:tt)*) => {
        $crate::$then! {
            $($given)*
            calls {
                minimum replies_reach_their_calls "Each of very many concurrent calls gets its own reply, in any order of finishing";
                minimum replies_reach_their_callers "Replies go to the client that called, although the calls of each client have the same ids";
                minimum each_request_runs_once "A request runs once if its server lives and its link holds";
                minimum nested_methods_are_found "A method whose name has dots is found";
                minimum calls_in_flight_can_be_awaited_later "A call in flight is a handle that can be awaited later";
                minimum requests_sent_after_bind_are_served "A request that is sent after the server was bound is served, even if serving starts later";
                minimum unknown_service_is_unroutable "A call to a service without a server fails as unroutable and unsent";
                minimum client_of_any_service_reaches_each "A client of any service reaches each by its name";
                minimum call_waits_for_the_first_server "A call that is asked to waits for the first server of its service, until its deadline";
                minimum abandoned_call_leaves_nothing_behind "A call that is dropped leaves nothing behind; its late reply is dropped and counted, if there is one";
            }
            faults {
                minimum faults_cross_whole "A fault keeps its code, kind, message and details";
                minimum permanent_fault_stays_permanent "A fault that is marked as permanent arrives as such, and no other fault does";
                minimum unknown_method_is_a_fault "A call of a method that the service does not have is answered with a fault";
                minimum bad_arguments_name_the_path "Arguments of the wrong type are answered with a fault that names the path";
                minimum unreadable_arguments_are_a_fault "Arguments that cannot be decoded are answered with a fault, and the server lives";
                minimum foreign_format_is_named "A call in another format than the server's is answered with a fault that names both";
                minimum panicking_handler_answers "A handler that panics answers with a fault, and the server lives";
                minimum panicking_payload_answers_once "A handler whose panic has a payload that panics in turn answers with a fault, and runs once";
                minimum unencodable_result_answers "A result that cannot be encoded is answered with a fault, and the server lives";
                minimum unreadable_reply_fails_its_call_alone "A reply that cannot be decoded fails its own call and no other";
            }
            answers {
                optional declined_request_reaches_another_server "A request that a server declines reaches another server, which accepts it";
                minimum request_that_all_decline_is_declined "A request that every server declines ends with the fault of one of them, and is retried no longer";
                optional declined_request_goes_to_each_server_once "A declined request goes to each server exactly once, where the backend passes it on";
                minimum early_reply_does_not_end_the_handler "A handler that answers early keeps running, and its caller gets that answer and no other";
            }
            deadlines {
                minimum expired_request_never_starts "A request whose deadline has passed never reaches the handler";
                minimum slow_handler_is_dropped "A handler slower than the deadline is dropped, and its call times out";
                minimum expired_calls_leave_room "Calls that timed out take no room from later calls";
                minimum deadline_travels "The handler knows the deadline of its caller";
                minimum time_in_a_queue_counts "The time that a request waits before its server takes it counts against its deadline";
                optional server_is_notified_when_a_deadline_passes "The client notifies the server when the deadline of a call passes";
            }
            one_way {
                minimum each_runs_once_and_answers_nothing "A one-way call runs once and answers nothing, even if it fails or panics";
                minimum sender_does_not_wait_for_the_handler "A one-way call is sent without waiting for its handler";
                minimum one_for_an_unknown_service_is_unroutable "A one-way call to a service without a server fails as unroutable and unsent";
                optional one_of_a_dead_server_goes_on "The one-way calls that a dying server held run on another server, marked as redelivered";
                minimum no_deadline_is_inherited "A one-way call that a handler sends inherits no deadline, and runs to its end";
                minimum expired_one_never_runs "A one-way call that has not begun within its time to live never runs";
                minimum expired_one_is_kept_if_it_asks "A one-way call that asks for it becomes a dead letter when it expires, or is refused as unsupported";
            }
            send_options {
                minimum headers_of_a_call_reach_its_handler "The headers of a call and of a one-way call arrive at the handler";
                optional headers_of_a_job_arrive "The headers of a job arrive at its puller: those of its pusher, and those of its push";
                optional headers_of_an_event_arrive "The headers of an event arrive at its subscriber";
                minimum reserved_header_is_refused "A header with the reserved prefix is refused by name, and nothing is sent";
                optional expired_job_never_runs "A job that has not begun within its time to live never runs";
                optional expired_job_is_kept_if_it_asks "A job that asks for it becomes a dead letter when it expires, or is refused as unsupported";
                optional expired_event_is_dropped "An event that its subscriber has not taken within its time to live is dropped";
            }
            message_ids {
                minimum id_of_a_call_reaches_its_handler "The id that a caller chose arrives at its handler, and a call without one has an id of its own";
                optional id_of_a_job_arrives "The id that a pusher chose arrives with its job, and a job without one has an id of its own";
                optional id_of_an_event_is_the_same_for_each_subscriber "An event has one id at each of its subscribers, which its publisher chose or made";
                optional id_of_a_job_stays_through_its_attempts "The id of a job is the same in each attempt, in its dead letter, and after its redrive";
            }
            handlers {
                minimum uncancelled_handler_outlives_its_caller "A handler that is marked as uncancelled runs to its end, even if its caller leaves";
                minimum drain_waits_for_an_uncancelled_handler "A drain waits for an uncancelled handler whose caller has gone";
                minimum methods_change_while_the_server_runs "Methods are added and removed while their server runs, and each call gets the method of its time";
            }
            chains {
                minimum context_is_handed_on "A call that a handler makes has the deadline and the context of the call that the handler answers";
                optional abandoned_call_stops_the_whole_chain "When a client cancels a call, its handler stops, and so do all handlers that it called, and no others";
                minimum deadline_stops_the_whole_chain "When the deadline of a call passes, all handlers that were called to answer it stop";
            }
            bodies {
                minimum every_size_arrives "Bodies of every size arrive unchanged, in both directions, up to 8 MiB or the limit of the backend";
                minimum too_large_request_is_refused "A request over the limit fails at its sender, and the next one succeeds";
                minimum too_large_reply_is_a_fault "A reply over the limit is a fault at its caller, and the server lives";
                minimum headers_and_names_survive "Headers arrive unchanged, and names and values need not be ASCII";
                minimum too_many_headers_are_refused "Headers over the limit fail at their sender, and the next request succeeds";
            }
            long_names {
                minimum services_and_methods_are_distinct "Services and methods may have names of 200 bytes that are not ASCII";
                optional queues_are_distinct "Queues of jobs may have names of 200 bytes that are not ASCII";
                optional channels_topics_and_groups_are_distinct "Channels, topics, filters and groups may have names of 200 bytes that are not ASCII";
            }
            codecs {
                minimum calls_cross_in_each_codec "A call in JSON and a call in MessagePack come back unchanged";
                minimum client_reads_the_formats_that_it_accepts "A client reads replies in each format that it accepts, and in no other";
                minimum parameters_of_a_media_type_do_not_count "The media type of a request counts without its case and its parameters, the charset excepted";
                optional jobs_cross_in_each_codec "A job in JSON and a job in MessagePack arrive unchanged";
                optional events_cross_in_each_codec "An event in JSON and an event in MessagePack arrive unchanged";
                minimum call_with_a_number_beyond_json_is_unsent "A call in JSON with a number that JSON does not have fails at its caller, and is not sent";
                optional job_with_a_number_beyond_json_is_unsent "A job in JSON with a number that JSON does not have fails at its pusher, and is not sent";
                optional event_with_a_number_beyond_json_is_unsent "An event in JSON with a number that JSON does not have fails at its publisher, and is not sent";
            }
            servers {
                minimum competing_servers_share "Requests are spread over competing servers";
                minimum window_bounds_the_work "No more requests run at once than the window allows";
                minimum draining_server_finishes_and_refuses "A server that drains finishes the requests that run, and refuses or requeues the rest";
                optional draining_server_leaves_the_rest_to_others "While a server drains, other servers get the new requests";
                optional window_bounds_unsettled_deliveries "An endpoint handle holds no more unsettled deliveries than its window; the rest waits where others can get it";
                optional requests_of_a_dead_server_go_on "The requests that a dying server held go to another server, marked as redelivered";
            }
            at_most_once {
                optional begun_call_is_interrupted_and_not_run_again "A call that has begun is begun by no other server when its server dies, and its caller learns of that within two seconds";
                optional begun_call_is_interrupted_without_another_server "The caller of a call that has begun learns within two seconds that its server has died, even if there is no other server";
                optional request_that_was_not_begun_runs_elsewhere "The requests that a dying server held and had not begun run on another server";
                optional redelivered_call_that_had_begun_is_interrupted "A call that a server had begun is interrupted if the broker redelivers its request, and is not begun again";
                optional unmarked_call_is_interrupted_too "A method that runs at most once does so for callers that did not mark their calls";
                minimum one_way_call_is_begun_once "A one-way call that has begun is run by no other server when its server dies";
                optional begun_call_is_not_run_by_servers_without_the_mark "A request to a server that runs each at most once goes to no other server if that server dies, not even to one that runs requests at least once";
                optional call_whose_client_is_gone_does_not_begin "A call whose client is gone before it begins does not begin, and takes no place in the window of its server";
            }
            redelivery {
                optional calls_that_were_not_begun_go_on "The calls that a dying server held and had not begun run on another server, marked as redelivered";
                optional one_way_calls_that_were_not_begun_go_on "The one-way calls that a dying server had not begun run on another server, except those that run at most once";
                optional request_of_a_caller_that_is_gone_ends_by_its_deadline "A redelivered request whose caller is gone runs until its deadline, and does not begin if it runs at most once";
                minimum calls_of_a_dead_server_end_soon "The calls of a server that dies are answered by another server, or fail as disconnected, well before their deadline";
            }
            pipeline {
                optional each_job_reaches_one_worker "Each job of several pushers reaches exactly one of several workers";
                optional jobs_keep_their_order "The jobs of one pusher reach one worker in the order in which they were pushed";
                optional urgent_jobs_are_taken_first "Waiting jobs are delivered by priority, and jobs of one priority in their order";
                optional headers_cross_with_the_job "The headers of a job arrive with it";
                optional job_without_a_worker_waits_or_is_refused "A job without a worker waits for one, or its push fails as unroutable";
                optional dropped_job_is_requeued "A job that is dropped unsettled is redelivered, and marked so";
                optional requeued_job_counts_its_attempts "Each requeue is one more attempt";
                optional settled_job_is_gone "A job that was acknowledged or discarded is never redelivered, even if its worker ends";
                optional jobs_of_a_dead_worker_go_on "The jobs that a worker held when it died go to another worker";
                optional window_bounds_the_jobs_taken "A worker holds no more jobs than its window; the rest goes to others";
                optional window_leaves_many_jobs_to_others "A window is a bound for many jobs, too: the rest goes to others, or their pushes wait";
                optional worker_that_does_not_read_loses_nothing "For a worker that does not read, each push waits or is kept: every job whose push succeeded arrives";
                optional failing_job_is_tried_again_and_then_discarded "A job whose handler fails is retried as often as configured, and then discarded";
                optional bad_jobs_leave_the_worker_at_work "A handler that panics and a job that cannot be decoded leave the worker at work";
                optional panicking_payload_of_a_job_runs_once "A job whose handler panics with a payload that panics in turn runs once, and the worker goes on";
                optional draining_worker_finishes_what_runs "A worker that drains finishes the jobs that run, and receives no more";
                optional close_ends_pulling_and_pushing "Closing a transport ends its pullers, and its pushers fail as closed";
            }
            retries {
                optional failed_job_comes_again_after_its_pause "A job with a delayed retry is redelivered, not before its time, with its attempt counted and its error attached";
                optional exhausted_job_is_kept_with_its_history "A job whose attempts all fail is dead-lettered, with the reason, the number of attempts, and the first and last error";
                optional permanent_fault_is_not_retried "A job whose handler fails for good is dead-lettered after one attempt";
                optional redriven_job_comes_again "A dead letter that is redriven starts with attempt 1, is marked as redriven, and is no dead letter any more";
                optional dead_letters_stay_until_they_are_discarded "Dead letters that were only read stay; those that are discarded are gone";
                optional dead_letters_of_a_misspelt_name_are_refused "Dead letters of a name that was never used are refused, and not shown as none";
                optional job_that_ends_its_workers_is_kept "A job whose workers die with it is dead-lettered after its attempts, and runs no more";
                optional jobs_beside_one_that_ends_its_workers_are_done "A job that ends each of its workers is dead-lettered alone, and the jobs beside it are done";
                optional unreadable_job_is_kept "A job that cannot be decoded is dead-lettered with the error";
                optional redriven_event_goes_to_its_group_alone "An event that a group dead-lettered is redriven to that group alone, with its topic";
                minimum what_is_lacking_is_unsupported "Retries and dead letters that a backend lacks are refused as unsupported";
            }
            pubsub {
                optional filters_mean_what_they_say "Each subscriber gets the events that its filters match, in the order of publishing, and no others";
                optional nothing_published_after_bind_is_missed "An event that is published after a subscriber was bound is not missed, whichever side opened first";
                optional publishing_needs_no_subscriber "Publishing without subscribers succeeds";
                optional filters_change_while_running "Filters can be added and removed while a subscriber runs";
                optional topics_may_be_bytes "Topics and filters may be given as bytes, of any text; bytes that are no text are refused";
                optional many_publishers_reach_many_subscribers "Several publishers reach several subscribers, each event once";
                optional group_shares_its_events "Each event goes to one member of a group, and to every subscriber outside of it";
                optional members_with_different_filters_share_all "The members of a group with different filters share the events that any of them wants";
                optional events_of_a_dead_member_go_on "An event that a member of a group held when it died goes to another member";
                optional durable_group_collects_while_away "A durable group collects the events that are published while it has no member";
                optional slow_subscriber_drops_the_oldest "A subscriber that drops the oldest ends up with the latest events, and counts the dropped ones";
                optional slow_subscriber_drops_the_newest "A subscriber that drops the newest ends up with the first events, and counts the dropped ones";
                optional slow_subscriber_is_disconnected "A subscriber with the policy to disconnect gets the events that it held, an error, and the end";
                optional slow_subscriber_that_waits_misses_nothing "A subscriber with the policy to wait misses nothing, however slow it is";
                optional slow_subscriber_gets_each_of_many_events "A subscriber with the policy to wait gets each of very many events that were published before it read";
                optional listener_tries_again_within_its_group "A listener handles events; in a group, a failed event is retried";
                optional every_handler_of_an_event_runs "Every handler whose filter matches runs once for an event, even if one of them fails";
                optional event_is_retried_for_all_its_handlers "An event succeeds when all its handlers succeed; a retry runs all of them again";
                optional each_destination_has_its_outcome "An event for several destinations reaches each of them, and has an outcome for each";
                optional published_call_runs_its_method "An event that is a call runs the method that it names, with any topic";
                optional close_ends_subscribing_and_publishing "Closing a transport ends its subscribers, and its publishers fail as closed";
                minimum what_is_lacking_is_unsupported "Patterns and options that a backend lacks are refused as unsupported, and not reduced in silence";
            }
            broadcasts {
                optional every_instance_has_its_outcome "Each instance gets a broadcast, and its reply, its fault, or that it declined comes back with its name";
                optional one_way_broadcast_reaches_each_instance "A one-way broadcast runs once in each instance, and answers nothing";
                optional options_of_a_broadcast_reach_its_handlers "The header, the baggage and the deadline of a broadcast arrive at each handler";
                optional silent_instances_are_named "A gathering ends by its timeout, and names the instances that were silent";
                optional count_quorum_and_gap_end_a_gathering "A gathering ends after a number of outcomes or replies, and when the next outcome takes too long";
                optional nobody_there_is_known "A broadcast without an instance succeeds, and its gathering ends soon";
                optional dropped_gathering_stops_every_handler "When a gathering is dropped, the handler of each instance is stopped";
                optional deadline_stops_every_handler "When the time of a gathering has passed, the handler of each instance is stopped";
                optional draining_instance_finishes "An instance that drains finishes the broadcasts that it runs, and later ones do not wait for it";
                optional leaving_instance_is_gone "An instance that ends while it runs a broadcast is reported as gone at once";
                optional crashed_instance_is_gone "An instance that ends without a leave is gone after two heartbeats";
                optional instances_come_and_go "A broadcaster learns of each instance that joins, drains and leaves";
                optional gathers_again_after_a_cut "After a cut, an open broadcaster reaches its instances again";
                minimum what_is_lacking_is_unsupported "Broadcasts on a backend without publish-subscribe are refused as unsupported";
            }
            instances {
                minimum sender_is_known_to_handlers "The description of a component arrives with each of its calls, jobs and events";
            }
            lifecycle {
                minimum close_twice_is_close_once "Closing twice is closing once, and operations after it fail as closed";
                minimum close_wakes_pending_calls "Closing a transport ends its calls in flight at once";
                minimum close_ends_serving "Closing a transport ends its servers";
                minimum serving_ends_with_its_reason "Serving ends as drained after a drain, and as closed after a close";
                minimum handler_may_drain_its_server "A handler that drains its own server answers, and the server ends as drained";
                minimum drained_service_is_served_again "A transport serves a service again after its server has drained";
                minimum nothing_arrives_after_close "A responder yields nothing after it was closed";
                minimum close_leaves_others_alone "Closing a transport leaves other transports open";
            }
            endings {
                optional jobs_of_workers_that_end_are_done "Jobs on their way to a worker that drains, closes or is dropped are done by another worker";
                optional one_way_call_of_a_dropped_client_runs "A one-way call that was sent runs, even if its client and its transport are dropped at once";
                optional job_of_a_dropped_pusher_is_done "A job whose push succeeded is done, even if its pusher and its transport are dropped at once";
                optional event_of_a_dropped_publisher_arrives "An event that was published arrives, even if its publisher and its transport are dropped at once";
                minimum close_denies_no_call_that_was_taken "A transport that is closed while it sends calls one as unsent only if no server got it";
                optional close_denies_no_job_that_was_taken "A transport that is closed while it pushes calls a job unsent only if no worker gets it";
                minimum call_after_the_end_of_its_runtime_is_closed "A call over a transport whose runtime has ended fails at once as closed and unsent; a one-way call does so, or runs";
                optional job_after_the_end_of_its_runtime_is_closed "A push over a transport whose runtime has ended fails at once as closed and unsent, or its job is done";
                optional event_after_the_end_of_its_runtime_is_closed "Publishing over a transport whose runtime has ended fails at once as closed and unsent, or the event arrives";
            }
            budget {
                minimum failing_calls_leave_other_tasks_their_turns "A loop over calls that fail at once leaves other tasks their turns";
                optional failing_pushes_leave_other_tasks_their_turns "A loop over pushes that fail at once leaves other tasks their turns";
                optional failing_publishes_leave_other_tasks_their_turns "A loop over events that cannot be published leaves other tasks their turns";
            }
            health {
                optional bound_handles_consume "An endpoint handle is reported as consuming once it is bound, and a closed transport is not ready";
                optional drain_turns_readiness_off_first "Readiness is off as soon as a drain is requested, while handlers run, and after the drain";
                optional canary_comes_back_and_reaches_no_handler "A canary goes through the receiver of its handle and back, reaches no handler, and is not counted";
                optional cut_link_turns_readiness_off_and_on "When the link is cut, readiness is off until the link is back";
                optional dead_broker_turns_readiness_off_and_on "While the broker is away, readiness is off, and it is on again when the broker is back";
            }
            links {
                optional calls_in_flight_end_when_the_link_is_cut "Calls in flight when the link is cut end well before their deadline, answered or as disconnected";
                optional handlers_run_on_when_the_link_is_cut "A handler that runs when the link is cut runs to its end";
                optional calls_work_again_after_the_link_was_cut "After a cut, calls between open endpoint handles are answered again";
                optional a_black_hole_ends_calls_by_their_deadline "Calls whose bytes vanish end by their deadline, and calls work again when bytes pass";
                optional a_frame_cut_in_the_middle_harms_no_other_client "A message that is cut in the middle reaches no handler and harms no other client";
                optional no_acknowledged_call_is_lost_over_a_cut "Under load and repeated cuts, every acknowledged call ran, and no call that failed as unsent did";
                optional suppressed_duplicate_is_run_once_over_a_cut "No cut makes a request run twice, if its server deduplicates";
            }
            brokers {
                optional served_again_after_a_restart_of_the_broker "After a restart of the broker, calls between open endpoint handles are answered again";
                optional a_dead_broker_ends_calls_by_their_deadline "Calls while the broker is away end by their deadline, and calls work again when it is back";
                optional a_frozen_broker_ends_calls_by_their_deadline "Calls while the broker is frozen end by their deadline, and calls work again when it is thawed";
            }
            outages {
                optional worker_receives_again_after_a_cut "After a cut, jobs flow again between an open pusher and an open worker";
                optional subscriber_receives_again_after_a_cut "After a cut, an open subscriber gets the events of its current filters again, and no others";
                optional event_of_a_cut_arrives_or_is_reported "Over repeated cuts, every acknowledged event reaches a subscriber, or it learns that events may be missing";
                optional a_black_hole_ends_pushes_in_time "Pushing and publishing into a link that swallows everything time out as configured, and work again when it is healed";
                optional no_acknowledged_job_is_lost_over_a_cut "Under repeated cuts, each push ends, and every acknowledged job is done";
                optional no_acknowledged_event_is_lost_over_a_cut "Under repeated cuts, each publish ends, and every acknowledged event reaches the durable group";
                optional jobs_outlive_a_restart_of_the_broker "Jobs whose push succeeded outlive a broker that is killed";
                optional job_of_a_killed_worker_comes_back_in_time "The job of a process that was killed comes back within the time that the space names";
                optional worker_that_holds_a_job_too_long_receives_again "A worker whose delivery the broker took back is served again, with that job and with others";
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! list_of_cases {
    ($($group:ident { $($set:ident $name:ident $about:literal;)+ })+) => {
        &[$($(Case {
            id: concat!(stringify!($group), ".", stringify!($name)),
            about: $about,
            minimum: matches!(stringify!($set).as_bytes(), b"minimum"),
            run: |context| Box::pin(async move { $group::$name(&context).await }),
        },)+)+]
    };
}

/// All cases, grouped, in the order that reads best.
pub const ALL: &[Case] = each_case!(list_of_cases);
