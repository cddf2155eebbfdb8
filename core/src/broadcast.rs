//! Broadcast and gather: a call to every instance of a service, and the outcomes of all of them.
//!
//! A [`Broadcaster`] sends a call to each instance that is there. Its [`Gathering`] is a stream of
//! the outcomes, each with the [`Instance`](crate::Instance) that it is from. The stream
//! [ends](GatherEnd) with a [reason](GatherReason) and names the instances that were silent.
//! [`Server::bind_broadcast`](crate::Server::bind_broadcast) makes an instance, whose handlers,
//! layers, limits, counters and drain are those of any server.
//!
//! # Way of the messages
//!
//! All messages are events on the channel `SERVICE.broadcast`, so that every transport with
//! [`pubsub`](crate::Capabilities::pubsub) carries them, and others refuse as
//! [`Unsupported`](crate::ErrorKind::Unsupported). A call is not kept for an instance that is away,
//! and an instance drops a call that a broker delivers once more. Calls and cancels have the topic
//! `call`, outcomes the topic `outcome.INBOX` of their caller.
//!
//! Under the topic `presence`, each instance announces that it is there: when it is bound, at each
//! heartbeat, when a caller asks, when it drains, and when it leaves. A caller that misses an
//! instance for two heartbeats takes it for gone. So a caller knows, without a registry,
//! which instances a call goes to.

mod broadcast_bind;
mod broadcast_builder;
mod broadcaster;
mod broadcaster_connect;
mod broadcaster_state;
mod envelope;
mod gather_options;
mod gather_progress;
mod gathering;
mod instance_changes;
mod instance_event_reader;
mod instance_outcome;
mod membership;
mod outcome_sender;
mod presence;
mod recent_calls;
mod refusals;
mod request_receiver;

pub use self::broadcast_bind::BroadcastBind;
pub use self::broadcast_builder::BroadcastBuilder;
pub use self::broadcaster::{Broadcaster, BroadcasterStats};
pub use self::broadcaster_connect::BroadcasterConnect;
pub use self::gathering::{GatherEnd, GatherReason, Gathering};
pub use self::instance_changes::{InstanceChange, InstanceChanges};
pub use self::instance_outcome::{Gathered, InstanceOutcome};
