//! The cases: what every backend must do, one function each.

pub mod answers;
pub mod bodies;
pub mod brokers;
pub mod calls;
pub mod chains;
pub mod codecs;
pub mod deadlines;
pub mod faults;
pub mod lifecycle;
pub mod links;
pub mod outages;
pub mod pipeline;
pub mod pubsub;
pub mod retries;
pub mod servers;

use crate::Case;

/// The list of cases, in the order in which they are best read: by group, whether it belongs to the
/// minimum set or is optional since it asks for a capability or a hook, the function, and what it
/// is about.
///
/// Hands the list to the macro `$then`, after what is `$given`: one list for all uses.
#[doc(hidden)]
#[macro_export]
macro_rules! each_case {
    ($then:ident $($given:tt)*) => {
        $crate::$then! {
            $($given)*
            calls {
                minimum replies_reach_their_calls "Of 10,000 calls at once, each gets its own reply, whatever the order of finishing";
                minimum replies_reach_their_callers "Replies go to the client that asked, although the calls of each client have the same numbers";
                minimum each_request_runs_once "A request whose server lives and whose link holds is carried out once";
                minimum nested_methods_are_found "A method whose name has dots is found";
                minimum calls_in_flight_can_be_awaited_later "A call in flight is a handle that can be awaited later";
                minimum requests_sent_after_bind_are_served "A request that is sent after the server was bound is served, even if serving starts later";
                minimum unknown_service_is_unroutable "A call to a service that nobody serves fails as unroutable, and says that nobody has it";
                minimum abandoned_call_leaves_nothing_behind "A call that is dropped leaves nothing behind; its late reply is dropped and counted, if there is one";
            }
            faults {
                minimum faults_cross_whole "A fault keeps its code, kind, message and details";
                minimum unknown_method_is_a_fault "A call of a method that the service does not have is answered with a fault";
                minimum bad_arguments_name_the_path "Arguments of the wrong type are answered with a fault that says where";
                minimum unreadable_arguments_are_a_fault "Arguments that are not of the format are answered with a fault, and the server lives";
                minimum foreign_format_is_named "A call in another format than the server's is answered with a fault that names both";
                minimum panicking_handler_answers "A handler that panics answers with a fault, and the server lives";
                minimum unencodable_result_answers "A result that cannot be encoded is answered with a fault, and the server lives";
                minimum unreadable_reply_fails_its_call_alone "A reply that cannot be read fails its own call and no other";
            }
            answers {
                optional declined_request_reaches_another_server "A request that a server declines reaches another one, which takes it";
                minimum request_that_all_decline_is_declined "A request that every server declines ends with what one of them said, and is asked for no longer";
                optional declined_request_goes_to_each_server_once "Where the backend hands on what is declined, no server is asked twice, and none is left out";
                minimum early_reply_does_not_end_the_handler "A handler that answers early goes on working, and its caller gets that answer and no other";
            }
            deadlines {
                minimum expired_request_never_starts "A request whose deadline has passed never reaches the handler";
                minimum slow_handler_is_dropped "A handler slower than the deadline is dropped, and its caller learns in time";
                minimum expired_calls_leave_room "Calls that nobody answered in time take no room from later ones";
                minimum deadline_travels "The handler knows how long its caller waits";
            }
            chains {
                minimum context_is_handed_on "A call that is made by a handler ends with the call that the handler answers, and takes its context along";
                optional abandoned_call_stops_the_whole_chain "When a caller stops waiting, its handler stops, and so does all that the handler had called, and nothing else";
                minimum deadline_stops_the_whole_chain "When the deadline of a call has passed, all that was called to answer it stops";
            }
            bodies {
                minimum every_size_arrives "Bodies of no byte, one byte and 8 MiB arrive as they left, both ways";
                minimum too_large_request_is_refused "A request over the limit fails at its sender, and the next one is fine";
                minimum too_large_reply_is_a_fault "A reply over the limit is a fault at its caller, and the server lives";
                minimum headers_and_names_survive "Headers arrive as they left, and names and values need not be ASCII";
                minimum too_many_headers_are_refused "Headers over the limit fail at their sender, and the next request is fine";
            }
            codecs {
                minimum calls_cross_in_each_codec "A call in JSON and one in MessagePack come back as they left";
                optional jobs_cross_in_each_codec "A job in JSON and one in MessagePack arrive as they left";
                optional events_cross_in_each_codec "An event in JSON and one in MessagePack arrive as they left";
            }
            servers {
                minimum competing_servers_share "Requests are spread over competing servers";
                minimum window_bounds_the_work "No more requests run at once than the window allows";
                minimum draining_server_finishes_and_refuses "A server that drains finishes what runs and refuses or hands back the rest";
                optional draining_server_leaves_the_rest_to_others "While a server drains, others get what is sent";
                optional window_bounds_unsettled_deliveries "An end holds no more unsettled deliveries than its window; what is beyond waits where others can take it";
                optional requests_of_a_dead_server_go_on "The requests that a dying server held go to another one, marked as redelivered";
                optional request_run_at_most_once_goes_to_nobody_else "A request to a server that runs each at most once goes to nobody else if that server dies";
            }
            pipeline {
                optional each_job_reaches_one_worker "Of the jobs of several pushers, each reaches exactly one of several workers";
                optional jobs_keep_their_order "The jobs of one pusher reach one worker in the order in which they were pushed";
                optional urgent_jobs_are_taken_first "Of the jobs that wait, the urgent ones are taken first, and those that are as urgent in their order";
                optional headers_cross_with_the_job "What a job says about itself crosses with it";
                optional job_for_nobody_waits_or_is_refused "A job that nobody is there for waits for a worker, or its push says that it is unroutable";
                optional dropped_job_is_requeued "A job that is dropped unsettled comes again, and says so";
                optional requeued_job_counts_its_attempts "Each requeue is one more attempt";
                optional settled_job_is_gone "A job that was acknowledged or discarded never comes again, whatever becomes of its worker";
                optional jobs_of_a_dead_worker_go_on "The jobs that a worker held when it died go to another one";
                optional window_bounds_the_jobs_taken "A worker holds no more jobs than its window; the rest goes to others";
                optional worker_that_does_not_read_loses_nothing "Whatever a worker that does not read is sent, each push either waits or is kept: what succeeded arrives";
                optional failing_job_is_tried_again_and_then_discarded "A job whose handler fails is tried again, as often as was said, and then discarded";
                optional bad_jobs_leave_the_worker_at_work "A handler that panics and a job that cannot be read leave the worker at work";
                optional draining_worker_finishes_what_runs "A worker that drains finishes what runs, and takes nothing more";
                optional close_ends_pulling_and_pushing "Closing a transport ends its pullers, and its pushers say that they are closed";
            }
            retries {
                optional failed_job_comes_again_after_its_pause "A job that is given back for later comes again, not before its time, counted and with what was said about it";
                optional exhausted_job_is_kept_with_its_story "A job whose attempts all fail is kept, with the reason, their number, and what the first and the last one said";
                optional redriven_job_comes_again "A dead letter that is redriven is attempted as if for the first time, says that it was redriven, and is dead no more";
                optional dead_letters_stay_until_they_are_discarded "Dead letters that somebody looked at are there as before; those that are discarded are gone";
                optional job_that_ends_its_workers_is_kept "A job whose workers die with it, again and again, is not run for ever, but kept";
                optional unreadable_job_is_kept "A job that cannot be read is kept, too, and says what cannot be read";
                optional redriven_event_goes_to_its_group_alone "An event of a group that failed for good is redriven to that group, with its topic, and to nobody else";
                minimum what_is_lacking_is_unsupported "What a backend cannot do about what fails it refuses by name, when that is asked for";
            }
            pubsub {
                optional filters_mean_what_they_say "Each subscriber gets what its filters match, in the order in which it was published, and nothing else";
                optional nothing_published_after_bind_is_missed "What is published after a subscriber was bound is not missed, whoever was there first";
                optional nobody_needs_to_listen "Publishing to nobody succeeds";
                optional filters_change_while_running "Filters can be added and dropped while a subscriber runs";
                optional topics_may_be_bytes "Topics and filters may be given as bytes, of any text";
                optional many_publishers_reach_many_subscribers "Several publishers reach several subscribers, each event once";
                optional group_shares_its_events "The members of a group share: each event goes to one of them. Who is in no group gets them all";
                optional events_of_a_dead_member_go_on "An event that a member of a group held when it died goes to another member";
                optional durable_group_collects_while_away "A durable group collects what is published while none of its members is there";
                optional slow_subscriber_drops_the_oldest "A subscriber that drops the oldest ends up with the latest, and knows how many it missed";
                optional slow_subscriber_drops_the_newest "A subscriber that drops the newest ends up with the first, and knows how many it missed";
                optional slow_subscriber_is_disconnected "A subscriber that wants to know when it was too slow gets what it held, the error, and the end";
                optional slow_subscriber_that_waits_misses_nothing "A subscriber that waits misses nothing, however slow it is";
                optional listener_tries_again_within_its_group "A listener deals with events by its handler; in a group, one that fails is tried again";
                optional close_ends_subscribing_and_publishing "Closing a transport ends its subscribers, and its publishers say that they are closed";
                minimum what_is_lacking_is_unsupported "What a backend cannot do it refuses by name, and does not do less in silence";
            }
            lifecycle {
                minimum close_twice_is_close_once "Closing twice is closing once, and what is closed says so";
                minimum close_wakes_pending_calls "Closing a transport ends its calls in flight at once";
                minimum close_ends_serving "Closing a transport ends its servers";
                minimum nothing_arrives_after_close "What a serving end had not yielded when it was closed, it yields no more";
                minimum close_leaves_others_alone "Closing a transport leaves those of others open";
            }
            links {
                optional calls_in_flight_end_when_the_link_is_cut "Calls in flight when the link is cut end well before their deadline, answered or as disconnected";
                optional calls_work_again_after_the_link_was_cut "After a cut, calls are answered again by what was open before";
                optional a_black_hole_ends_calls_by_their_deadline "Calls whose bytes vanish end by their deadline, and work again when bytes pass";
                optional a_frame_cut_in_the_middle_harms_nobody_else "A message that is cut in the middle reaches no handler and harms no other client";
                optional no_acknowledged_call_is_lost_over_a_cut "Under load and repeated cuts, what was acknowledged was done, and what failed as unsent was not";
                optional suppressed_duplicate_is_run_once_whatever_is_cut "Where a server suppresses duplicates, no cut makes it carry out a request twice";
            }
            brokers {
                optional served_again_after_a_restart_of_the_broker "After a restart of the broker, calls are answered again by what was open before";
                optional a_dead_broker_ends_calls_by_their_deadline "Calls while the broker is away end by their deadline, and work again when it is back";
                optional a_frozen_broker_ends_calls_by_their_deadline "Calls while the broker stands still end by their deadline, and work again when it goes on";
            }
            outages {
                optional worker_is_fed_again_after_a_cut "After a cut, a worker that was open before is fed again, and by a pusher that was open before";
                optional subscriber_hears_again_after_a_cut "After a cut, a subscriber that was open before hears again what its filters say by then, and nothing else";
                optional a_black_hole_ends_pushes_in_time "Pushing and publishing into a link that swallows everything ends when it was said to, and works when it is healed";
                optional no_acknowledged_job_is_lost_over_a_cut "Under repeated cuts, each push ends, and what it said was taken is worked off";
                optional no_acknowledged_event_is_lost_over_a_cut "Under repeated cuts, each publish ends, and what it said was taken reaches the durable group";
                optional jobs_outlive_a_restart_of_the_broker "Jobs whose push succeeded outlive a broker that is killed";
                optional worker_that_holds_a_job_too_long_is_fed_again "A worker that holds a job so long that the broker gives up on it is fed again, with that job and with others";
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
            run: |stage| Box::pin(async move { $group::$name(&stage).await }),
        },)+)+]
    };
}

/// All cases, in the order in which they are best read.
pub const ALL: &[Case] = each_case!(list_of_cases);

/// Makes a plain test of each case, for those who want no test binary of the suite's own:
/// `calls::nested_methods_are_found` and so on, as `#[tokio::test]`. It takes a
/// [`Backend`](crate::Backend), and a dev-dependency on tokio.
///
/// A case that was not run says so on the standard output, since a plain test can only pass or
/// fail.
///
/// ```
/// // tests/conformance.rs
/// polywire_conformance::suite!(polywire_conformance::MemoryBackend);
/// ```
#[macro_export]
macro_rules! suite {
    ($backend:expr) => {
        fn suite() -> $crate::Suite {
            $crate::Suite::of($backend)
        }

        $crate::each_case!(tests_of_cases);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! tests_of_cases {
    ($($group:ident { $($set:ident $name:ident $about:literal;)+ })+) => {
        $(mod $group {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::suite().assert(concat!(stringify!($group), ".", stringify!($name))).await;
            })+
        })+
    };
}
