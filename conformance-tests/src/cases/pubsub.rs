//! Events, for every subscriber that wants them.
//!
//! A publisher publishes events on a channel, each with a topic. A subscriber of its own gets a
//! copy of each event that its filters match. The members of a group share one copy, and settle it.

mod delivery;
mod destinations;
mod groups;
mod handlers;
mod lacking;
mod many_events;
mod slow_subscribers;

pub use self::delivery::{
    close_ends_subscribing_and_publishing, filters_change_while_running,
    filters_mean_what_they_say, many_publishers_reach_many_subscribers,
    nothing_published_after_bind_is_missed, publishing_needs_no_subscriber, topics_may_be_bytes,
};
pub use self::destinations::each_destination_has_its_outcome;
pub use self::groups::{
    durable_group_collects_while_away, events_of_a_dead_member_go_on, group_shares_its_events,
    listener_tries_again_within_its_group, members_with_different_filters_share_all,
};
pub use self::handlers::{
    event_is_retried_for_all_its_handlers, every_handler_of_an_event_runs,
    published_call_runs_its_method,
};
pub use self::lacking::what_is_lacking_is_unsupported;
pub use self::many_events::slow_subscriber_gets_each_of_many_events;
pub use self::slow_subscribers::{
    slow_subscriber_drops_the_newest, slow_subscriber_drops_the_oldest,
    slow_subscriber_is_disconnected, slow_subscriber_that_waits_misses_nothing,
};
