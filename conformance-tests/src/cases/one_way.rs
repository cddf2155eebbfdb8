//! One-way calls: each runs and answers nothing; none inherits a deadline, and one expires only by
//! a time to live of its own.

mod delivery;
mod expiry;

pub use self::delivery::{
    each_runs_once_and_answers_nothing, one_for_an_unknown_service_is_unroutable,
    one_of_a_dead_server_goes_on, sender_does_not_wait_for_the_handler,
};
pub use self::expiry::{
    expired_one_is_kept_if_it_asks, expired_one_never_runs, no_deadline_is_inherited,
};
