//! Flaws of redelivery.

use crate::caught::caught;
use crate::flaws::settling::{ForgetsTheDeadline, ForgetsTheMark, ForgetsToRequeue};

caught! {
    forgotten_requests: ForgetsToRequeue,
        "redelivery.calls_that_were_not_begun_go_on", "a call that had not begun is answered: DeadlineExceeded";
    forgotten_marks_of_one_way_calls: ForgetsTheMark,
        "redelivery.one_way_calls_that_were_not_begun_go_on", "the other server ran [0, 1, 2]";
    forgotten_deadlines: ForgetsTheDeadline,
        "redelivery.request_of_a_caller_that_is_gone_ends_by_its_deadline", "the request of a caller that is gone ends";
    calls_that_hang: ForgetsToRequeue,
        "redelivery.calls_of_a_dead_server_end_soon", "a call of a dead server ends well before its deadline";
}
