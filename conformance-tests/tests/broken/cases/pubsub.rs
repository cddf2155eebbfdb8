//! Flaws of events, of groups and of subscriptions.

use crate::caught::caught;
use crate::flaws::capabilities::{Overstated, RefusesAsConfig, RefusesPriorities, Understated};
use crate::flaws::closing::NeverCloses;
use crate::flaws::deliveries::MissesTheFirst;
use crate::flaws::events::{
    AsciiTopics, DeliversForEachFilter, DropsForOwnFilter, FixedFilters, ForgetsGroups, LosesEvery,
    NarrowFilters, NeedsReceivers, NeverShares, NeverWaits, RepeatsSome,
};
use crate::flaws::hoarding::DropsForSlowReaders;
use crate::flaws::messages::Alters;
use crate::flaws::settling::ForgetsToRequeue;

caught! {
    narrow_filters: NarrowFilters, "pubsub.filters_mean_what_they_say", "and got";
    missed_early_events: MissesTheFirst,
        "pubsub.nothing_published_after_bind_is_missed", "an event arrives in time";
    refused_without_subscribers: NeedsReceivers::loudly(),
        "pubsub.publishing_needs_no_subscriber", "publishing without subscribers: Unroutable";
    lost_destinations: LosesEvery::new(2),
        "pubsub.each_destination_has_its_outcome", "an event arrives in time";
    fixed_filters: FixedFilters, "pubsub.filters_change_while_running", "an event arrives in time";
    ascii_topics: AsciiTopics, "pubsub.topics_may_be_bytes", "an event arrives in time";
    lost_events: LosesEvery::new(100), "pubsub.many_publishers_reach_many_subscribers", "was due";
    repeated_events: RepeatsSome::default(), "pubsub.many_publishers_reach_many_subscribers", "was due";
    groups_that_do_not_share: NeverShares, "pubsub.group_shares_its_events", "the members of a group got";
    events_dropped_by_a_member: DropsForOwnFilter::default(),
        "pubsub.members_with_different_filters_share_all", "of 200 events that a member wants came";
    forgotten_events: ForgetsToRequeue, "pubsub.events_of_a_dead_member_go_on", "an event arrives in time";
    groups_that_do_not_last: ForgetsGroups,
        "pubsub.durable_group_collects_while_away", "an event arrives in time";
    uncounted_oldest: LosesEvery::new(3), "pubsub.slow_subscriber_drops_the_oldest", "the surplus is dropped";
    uncounted_newest: LosesEvery::new(3), "pubsub.slow_subscriber_drops_the_newest", "the surplus is dropped";
    gap_before_disconnection: LosesEvery::new(3),
        "pubsub.slow_subscriber_is_disconnected", "was due to get 2, and got 3";
    publishing_that_never_waits: NeverWaits, "pubsub.slow_subscriber_that_waits_misses_nothing", "is lost";
    events_dropped_for_a_slow_reader: DropsForSlowReaders,
        "pubsub.slow_subscriber_gets_each_of_many_events", "4096 of 6000 events came, 0 count as dropped";
    forgotten_retries: ForgetsToRequeue,
        "pubsub.listener_tries_again_within_its_group", "every event is done within";
    events_for_each_filter: DeliversForEachFilter::default(),
        "pubsub.every_handler_of_an_event_runs", "every event is handled within";
    forgotten_retries_of_all_handlers: ForgetsToRequeue,
        "pubsub.event_is_retried_for_all_its_handlers", "every event is done within";
    events_without_a_method: Alters(|event| event.method = None),
        "pubsub.published_call_runs_its_method", "the handlers were due to run";
    endless_publishing: NeverCloses,
        "pubsub.close_ends_subscribing_and_publishing", "publishing after closing ended with Ok";
    understated: Understated,
        "pubsub.what_is_lacking_is_unsupported", "pipeline is lacking, and asking for it succeeded";
    pipeline_refused_as_config: RefusesAsConfig("pipeline"),
        "pubsub.what_is_lacking_is_unsupported", "pipeline is lacking, and asking for it failed as Config";
    pubsub_refused_as_config: RefusesAsConfig("pubsub"),
        "pubsub.what_is_lacking_is_unsupported", "pubsub is lacking, and asking for it failed as Config";
    overstated_pipeline: Overstated("pipeline"),
        "pubsub.what_is_lacking_is_unsupported", "pipeline is there, and asking for it failed as Unsupported";
    overstated_pubsub: Overstated("pubsub"),
        "pubsub.what_is_lacking_is_unsupported", "pubsub is there, and asking for it failed as Unsupported";
    overstated_groups: Overstated("groups"),
        "pubsub.what_is_lacking_is_unsupported", "groups is there, and asking for it failed as Unsupported";
    overstated_durable_groups: Overstated("durable_groups"),
        "pubsub.what_is_lacking_is_unsupported", "durable_groups is there, and asking for it failed as Unsupported";
    refused_priorities_of_calls: RefusesPriorities("calls"),
        "pubsub.what_is_lacking_is_unsupported", "priorities is there, and asking for it failed as Unsupported";
    refused_priorities_of_jobs: RefusesPriorities("jobs"),
        "pubsub.what_is_lacking_is_unsupported", "priorities is there, and asking for it failed as Unsupported";
    refused_priorities_of_events: RefusesPriorities("events"),
        "pubsub.what_is_lacking_is_unsupported", "priorities is there, and asking for it failed as Unsupported";
}
