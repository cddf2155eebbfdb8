//! Flaws that begin a call twice, or leave its caller without word.

use crate::caught::caught;
use crate::flaws::permissions::{
    LosesDenials, NeverAsks, NeverChecks, PermitsEveryone, RedeliversAsNew,
};
use crate::flaws::settling::{ForgetsAcknowledgements, ForgetsToRequeue};

caught! {
    lost_acknowledgements: ForgetsAcknowledgements,
        "at_most_once.begun_call_is_not_run_by_servers_without_the_mark", "the other server ran [";
    silence_after_a_death: NeverChecks,
        "at_most_once.begun_call_is_interrupted_and_not_run_again", "ended with Err(DeadlineExceeded";
    silence_of_the_last_server: NeverChecks,
        "at_most_once.begun_call_is_interrupted_without_another_server", "ended with Err(DeadlineExceeded";
    permission_for_all: PermitsEveryone,
        "at_most_once.redelivered_call_that_had_begun_is_interrupted", "ended with Ok(true)";
    forgotten_requests: ForgetsToRequeue,
        "at_most_once.request_that_was_not_begun_runs_elsewhere", "a call that had not begun is answered";
    servers_that_do_not_ask: NeverAsks,
        "at_most_once.unmarked_call_is_interrupted_too", "ended with Err(DeadlineExceeded";
    one_way_calls_as_new: RedeliversAsNew::default(),
        "at_most_once.one_way_call_is_begun_once", "and in the end";
    lost_denials: LosesDenials,
        "at_most_once.call_whose_client_is_gone_does_not_begin", "the place of a call whose client is gone";
}
