//! The subscriber of a channel.
//!
//! A subscriber has a queue that is bound to the channel's topic exchange, with one binding per
//! filter. The members of a group share a queue, so its bindings belong to the group: a new
//! member adds its filters, and a member that reconnects restores them only if the queue was lost.
//! A subscriber without a group binds its own queue again on each new channel. Single bindings that
//! were removed return with the next check, in a group as long as no member has removed a filter.

mod event_queue;
mod filter_bindings;
mod open;

pub(crate) use self::open::open;
