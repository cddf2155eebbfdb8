//! Sending of calls and replies in batches.
//!
//! A [`message_joiner`] collects the messages to one queue until the tasks that are ready have run,
//! and publishes them as one. It has a route for the messages: [`joined_calls`] are those of a
//! requester, [`joined_replies`] those of a server to each of its clients. [`in_flight_calls`]
//! keeps the calls of a requester, so that a call of a batch that comes back is sent again while
//! its caller waits.
//!
//! A server receives batches in `consuming/batch_lane.rs`; a requester learns of announcements, of
//! replies and of returned batches through `consuming/requester_streams.rs`.
//!
//! # Tasks and bounds
//!
//! - A joiner has a task while messages wait, and one for each message that it has published, until
//!   the confirm. Core bounds the messages: by the calls in flight, and by the window of a server.

mod batching_option;
pub(crate) mod call_batching;
mod in_flight_calls;
pub(crate) mod joined_calls;
pub(crate) mod joined_replies;
mod message_joiner;
