//! Flaws of servers that compete, drain and die.

use crate::caught::caught;
use crate::flaws::calls::FavorsTheFirst;
use crate::flaws::capabilities::{IgnoresTheWindow, NarrowWindow};
use crate::flaws::handlers::{RedeliversAbandoned, RemembersMissingMethods, RequeuesWhenStopped};
use crate::flaws::settling::{ForgetsTheMark, ForgetsToRequeue, MuteWhenStopped, NeverStops};

caught! {
    favored_server: FavorsTheFirst::default(),
        "servers.competing_servers_share", "each server has as much work as its window holds";
    narrow_windows: NarrowWindow, "servers.window_bounds_the_work", "the requests ran one by one";
    mute_when_draining: MuteWhenStopped,
        "servers.draining_server_finishes_and_refuses", "a request that ran is answered: DeadlineExceeded";
    endless_receiving: NeverStops,
        "servers.draining_server_leaves_the_rest_to_others", "a draining server is answered by another: Fault";
    ignored_windows: IgnoresTheWindow,
        "servers.window_bounds_unsettled_deliveries", "a third request came through a window of two";
    abandoned_requests_that_run_again: RedeliversAbandoned,
        "handlers.uncancelled_handler_outlives_its_caller", "two requests were begun";
    running_requests_that_are_requeued: RequeuesWhenStopped,
        "handlers.drain_waits_for_an_uncancelled_handler", "one request was begun 2 times";
    methods_missing_for_ever: RemembersMissingMethods,
        "handlers.methods_change_while_the_server_runs", "the added method answers: Fault";
    forgotten_requests: ForgetsToRequeue,
        "servers.requests_of_a_dead_server_go_on", "a call whose server died is answered: DeadlineExceeded";
    forgotten_marks: ForgetsTheMark,
        "servers.requests_of_a_dead_server_go_on", "is marked as delivered for the first time";
}
