//! The cases: what every backend must do, one function each.

pub mod bodies;
pub mod calls;
pub mod deadlines;
pub mod faults;
pub mod lifecycle;
pub mod servers;

use crate::Case;

/// A case for the list: its group, its function, and what it is about.
macro_rules! case {
    ($group:ident, $name:ident, $about:literal) => {
        Case {
            id: concat!(stringify!($group), ".", stringify!($name)),
            about: $about,
            run: |stage| Box::pin(async move { $group::$name(&stage).await }),
        }
    };
}

/// All cases, in the order in which they are best read.
pub const ALL: &[Case] = &[
    case!(
        calls,
        replies_reach_their_calls,
        "Of 10,000 calls at once, each gets its own reply, whatever the order of finishing"
    ),
    case!(calls, nested_methods_are_found, "A method whose name has dots is found"),
    case!(
        calls,
        calls_in_flight_can_be_awaited_later,
        "A call in flight is a handle that can be awaited later"
    ),
    case!(
        calls,
        requests_sent_after_bind_are_served,
        "A request that is sent after the server was bound is served, even if serving starts later"
    ),
    case!(
        calls,
        unknown_service_is_unroutable,
        "A call to a service that nobody serves fails as unroutable, and says that nobody has it"
    ),
    case!(
        calls,
        abandoned_call_leaves_nothing_behind,
        "A call that is dropped leaves nothing behind; its late reply is dropped and counted"
    ),
    case!(faults, faults_cross_whole, "A fault keeps its code, kind, message and details"),
    case!(
        faults,
        unknown_method_is_a_fault,
        "A call of a method that the service does not have is answered with a fault"
    ),
    case!(
        faults,
        bad_arguments_name_the_path,
        "Arguments of the wrong type are answered with a fault that says where"
    ),
    case!(
        faults,
        unreadable_arguments_are_a_fault,
        "Arguments that are not of the format are answered with a fault, and the server lives"
    ),
    case!(
        faults,
        foreign_format_is_named,
        "A call in another format than the server's is answered with a fault that names both"
    ),
    case!(
        faults,
        panicking_handler_answers,
        "A handler that panics answers with a fault, and the server lives"
    ),
    case!(
        faults,
        unencodable_result_answers,
        "A result that cannot be encoded is answered with a fault, and the server lives"
    ),
    case!(
        faults,
        unreadable_reply_fails_its_call_alone,
        "A reply that cannot be read fails its own call and no other"
    ),
    case!(
        deadlines,
        expired_request_never_starts,
        "A request whose deadline has passed never reaches the handler"
    ),
    case!(
        deadlines,
        slow_handler_is_dropped,
        "A handler slower than the deadline is dropped, and its caller learns in time"
    ),
    case!(deadlines, deadline_travels, "The handler knows how long its caller waits"),
    case!(bodies, every_size_arrives, "Bodies of no byte, one byte and 8 MiB arrive as they left, both ways"),
    case!(
        bodies,
        too_large_request_is_refused,
        "A request over the limit fails at its sender, and the next one is fine"
    ),
    case!(
        bodies,
        too_large_reply_is_a_fault,
        "A reply over the limit is a fault at its caller, and the server lives"
    ),
    case!(
        bodies,
        headers_and_names_survive,
        "Headers arrive as they left, and names and values need not be ASCII"
    ),
    case!(
        bodies,
        too_many_headers_are_refused,
        "Headers over the limit fail at their sender, and the next request is fine"
    ),
    case!(servers, competing_servers_share, "Requests are spread over competing servers"),
    case!(servers, window_bounds_the_work, "No more requests run at once than the window allows"),
    case!(
        servers,
        draining_server_finishes_and_refuses,
        "A server that drains finishes what runs and refuses or hands back the rest"
    ),
    case!(
        servers,
        draining_server_leaves_the_rest_to_others,
        "While a server drains, others get what is sent"
    ),
    case!(
        servers,
        window_bounds_unsettled_deliveries,
        "An end holds no more unsettled deliveries than its window; what is beyond waits where others can take it"
    ),
    case!(
        servers,
        requests_of_a_dead_server_go_on,
        "The requests that a dying server held go to another one, marked as redelivered"
    ),
    case!(lifecycle, close_twice_is_close_once, "Closing twice is closing once, and what is closed says so"),
    case!(lifecycle, close_wakes_pending_calls, "Closing a transport ends its calls in flight at once"),
    case!(lifecycle, close_ends_serving, "Closing a transport ends its servers"),
    case!(lifecycle, close_leaves_others_alone, "Closing a transport leaves those of others open"),
];
