//! Publishing with confirms.
//!
//! A transport has one [`ConfirmedPublisher`](confirmed_publisher::ConfirmedPublisher) for
//! requests, replies, jobs and copies, which go to the default exchange, and one for each exchange
//! of events.
//! A message takes three forms on its way:
//!
//! 1. `OutgoingMessage`, the AMQP message, as the wire encodes it.
//! 2. `PublishRequest`: the message and its `ConfirmWaiter`, the sender's half that stays the same
//!    until the outcome is known. While there is no channel, the `PublishBuffer` keeps it.
//! 3. `WrittenMessage`: the waiter and the number of the message, in the `UnconfirmedTable`. The
//!    filter in front of the engine reads the confirms for the table.
//!
//! A connection that the program has made has no such filter. There, a message becomes an
//! `UnconfirmedPublish`: the waiter and the engine's confirmation. A `ConfirmTask` awaits these,
//! and the `ReturnMatcher` finds out which messages the broker returned.
//!
//! # Tasks and ownership
//!
//! - The sender's future holds a `BufferGuard` while its message is buffered. Dropping the future
//!   withdraws the message. From the moment of writing, dropping it only discards the outcome.
//! - The `ChannelSupervisor` opens channels, publishes buffered messages when there is room, and
//!   closes the queue when the broker refuses the connection for good.
//! - Each `ConfirmChannel` has a task, which outlives it until every written message is confirmed
//!   or lost. The task keeps the channel open, and fails the messages of a lost channel.
//!
//! # Order
//!
//! Messages are written in the order of the calls of
//! [`publish`](confirmed_publisher::ConfirmedPublisher::publish), not in the order in which their
//! futures are polled. Buffered messages go first. Only a lost channel breaks the order: a sender
//! that repeats an unconfirmed message does so behind later ones.
//!
//! # Refusals
//!
//! The broker closes the channel of a message that it refuses, with all unconfirmed messages. So
//! messages that it may refuse do not share a channel with others: [`event_publishers`] has a
//! channel for each exchange, and [`large_messages`] sends a message alone that exceeds the
//! accepted [sizes](size_limits). [`refused_message`] finds out which message caused a refusal.
//!
//! # Bounds
//!
//! Two limits bound memory, each by messages and by bytes: one for the `PublishBuffer`, one for
//! unconfirmed messages. A message beyond the first stays with its sender.

mod channel_supervisor;
mod confirm_channel;
mod confirm_outcome;
mod confirm_task;
pub(crate) mod confirmed_publisher;
pub(crate) mod event_publishers;
mod large_messages;
mod outcome_slot;
mod publish_buffer;
mod publish_queue;
mod publish_request;
pub(crate) mod refused_message;
mod return_matcher;
mod size_limits;
mod unconfirmed_limit;
mod unconfirmed_queue;
mod unconfirmed_table;
mod verified_user_id;
