//! Flaws of broadcasts, and of the descriptions of components.

use crate::caught::caught;
use crate::flaws::broadcasts::{LosesBroadcasts, NeedsAnInstance, SharesBroadcasts};
use crate::flaws::capabilities::Overstated;
use crate::flaws::closing::NeverCloses;
use crate::flaws::links::NeverReconnects;
use crate::flaws::messages::Alters;

caught! {
    shared_broadcasts: SharesBroadcasts,
        "broadcasts.every_instance_has_its_outcome", "three instances were due to answer";
    changed_outcomes: Alters(|event| {
        if event.headers.get("broadcast-fault-kind").is_some() {
            event.headers.insert("broadcast-fault-kind", "Other");
        }
    }),
        "broadcasts.every_instance_has_its_outcome", "three instances were due to answer";
    lost_announcements: LosesBroadcasts("1 joined"),
        "broadcasts.instances_come_and_go", "the instance joins";
    lost_one_way_broadcasts: LosesBroadcasts("1 one-way"),
        "broadcasts.one_way_broadcast_reaches_each_instance", "each instance runs the broadcast";
    shared_one_way_broadcasts: SharesBroadcasts,
        "broadcasts.one_way_broadcast_reaches_each_instance", "each instance runs the broadcast";
    lost_headers_of_broadcasts: Alters(|event| { event.headers.remove("tenant"); }),
        "broadcasts.options_of_a_broadcast_reach_its_handlers", "the headers of a broadcast came as";
    lost_deadlines_of_broadcasts: Alters(|event| event.deadline = None),
        "broadcasts.options_of_a_broadcast_reach_its_handlers", "the deadline of a broadcast did not arrive";
    lost_outcomes: LosesBroadcasts("1 reply"),
        "broadcasts.silent_instances_are_named", "one instance was due to answer";
    lost_outcomes_of_counts: LosesBroadcasts("1 reply"),
        "broadcasts.count_quorum_and_gap_end_a_gathering", "a gathering ends as Count";
    broadcasts_that_need_an_instance: NeedsAnInstance::default(),
        "broadcasts.nobody_there_is_known", "an operation succeeds";
    lost_cancels_of_broadcasts: LosesBroadcasts("1 cancel"),
        "broadcasts.dropped_gathering_stops_every_handler", "each instance stops its handler";
    handlers_without_a_deadline: Alters(|event| event.deadline = None),
        "broadcasts.deadline_stops_every_handler", "each instance stops its handler";
    lost_drains: LosesBroadcasts("1 draining"),
        "broadcasts.draining_instance_finishes", "1 instances are known";
    lost_leaves: LosesBroadcasts("1 left"),
        "broadcasts.leaving_instance_is_gone", "the instance is gone in time";
    instances_that_outlive_their_transport: NeverCloses,
        "broadcasts.crashed_instance_is_gone", "the instance is gone in time";
    broadcasts_lost_after_a_cut: NeverReconnects::default(),
        "broadcasts.gathers_again_after_a_cut", "a gathering is complete after the cut";
    overstated_broadcasts: Overstated("pubsub"),
        "broadcasts.what_is_lacking_is_unsupported", "pubsub is there, and a server of broadcasts failed";
    lost_descriptions: Alters(|message| message.headers = Default::default()),
        "instances.sender_is_known_to_handlers", "the sender of a call came as None";
}
