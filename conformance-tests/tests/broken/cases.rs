//! The cases, by group, each with a flaw that it catches.

mod at_most_once;
mod bodies;
mod broadcasts;
mod budget;
mod calls;
mod disturbances;
mod endings;
mod health;
mod lifecycle;
mod message_ids;
mod names;
mod pipeline;
mod pubsub;
mod redelivery;
mod retries;
mod send_options;
mod servers;

/// The cases that catch no flaw of this suite, each with the reason.
pub(crate) const UNCAUGHT: &[(&str, &str)] = &[];

/// Iterates over the ids of the cases that catch a flaw.
pub(crate) fn caught() -> impl Iterator<Item = &'static str> {
    [
        at_most_once::CAUGHT,
        bodies::CAUGHT,
        broadcasts::CAUGHT,
        budget::CAUGHT,
        calls::CAUGHT,
        disturbances::CAUGHT,
        endings::CAUGHT,
        health::CAUGHT,
        lifecycle::CAUGHT,
        message_ids::CAUGHT,
        names::CAUGHT,
        pipeline::CAUGHT,
        pubsub::CAUGHT,
        redelivery::CAUGHT,
        retries::CAUGHT,
        send_options::CAUGHT,
        servers::CAUGHT,
    ]
    .into_iter()
    .flatten()
    .copied()
}
