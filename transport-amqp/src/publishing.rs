//! Publishing with confirms.
//!
//! All endpoint handles of a transport share one [`ConfirmedPublisher`]. A message takes three
//! forms on its way:
//!
//! 1. `OutgoingMessage`, the AMQP message, as the wire encodes it.
//! 2. `PublishRequest`: the message and its `ConfirmWaiter`, the sender's half that stays the same
//!    until the outcome is known. While there is no channel, the `PublishBuffer` keeps it.
//! 3. `UnconfirmedPublish`: the waiter and the confirm that it waits for. The `ReturnMatcher` finds
//!    out which messages the broker returned.

mod buffer;
mod channel_supervisor;
mod confirm_channel;
pub(crate) mod confirmed_publisher;
mod confirms;
pub(crate) mod exchanges;
mod publish_queue;
mod request;
mod returned;
mod submitted;
mod unconfirmed;
mod user_id;
