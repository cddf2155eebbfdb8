//! Flaws of closing.

use crate::caught::caught;
use crate::flaws::calls::FavorsTheFirst;
use crate::flaws::closing::{
    ClosesOthers, DeliversAfterClose, FailsOnClose, HangsOnClose, NeverCloses, NeverEnds,
};
use crate::flaws::settling::MuteWhenStopped;

caught! {
    hanging_close: HangsOnClose, "lifecycle.close_twice_is_close_once", "the first close ends at once";
    close_that_does_nothing: NeverCloses,
        "lifecycle.close_twice_is_close_once", "a call after closing ended with Ok(1)";
    receivers_that_never_end: NeverEnds,
        "lifecycle.close_wakes_pending_calls", "a pending call ends at once";
    servers_that_never_end: NeverCloses, "lifecycle.close_ends_serving", "serving ends at once";
    close_that_looks_like_a_failure: FailsOnClose,
        "lifecycle.serving_ends_with_its_reason", "serving ended with Err(Disconnected";
    mute_when_drained_by_a_handler: MuteWhenStopped, "lifecycle.handler_may_drain_its_server",
        "a handler that drains its server answers: DeadlineExceeded";
    requests_for_the_first_handle: FavorsTheFirst::default(),
        "lifecycle.drained_service_is_served_again", "serving 2 answers: DeadlineExceeded";
    delivery_after_close: DeliversAfterClose,
        "lifecycle.nothing_arrives_after_close", "a closed receiver yielded Ok(Delivery";
    close_of_others: ClosesOthers::default(),
        "lifecycle.close_leaves_others_alone", "the other transport still works: Failed";
}
