//! Broadcasts: calls to every instance of a service, and all of their outcomes.
//!
//! An instance is a server that is bound to the broadcasts of the service. Broadcasts, outcomes
//! and announcements are events, so the cases need the capability `pubsub`.

mod ending;
mod gathering;
mod presence;
mod running_instance;
mod stopping;

pub use self::ending::{
    count_quorum_and_gap_end_a_gathering, nobody_there_is_known, silent_instances_are_named,
};
pub use self::gathering::{
    every_instance_has_its_outcome, one_way_broadcast_reaches_each_instance,
    options_of_a_broadcast_reach_its_handlers, what_is_lacking_is_unsupported,
};
pub use self::presence::{
    crashed_instance_is_gone, gathers_again_after_a_cut, instances_come_and_go,
};
pub use self::stopping::{
    deadline_stops_every_handler, draining_instance_finishes,
    dropped_gathering_stops_every_handler, leaving_instance_is_gone,
};
