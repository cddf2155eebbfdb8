//! The layout of messages on AMQP: pure functions that need no connection.
//!
//! [`native`] is the layout of polywire itself, whose functions are called directly. The layouts of
//! other systems differ in the queues and exchanges that they declare, too. So their seam is where
//! an endpoint handle opens; see [`AmqpLayout`](crate::AmqpLayout).
//!
//! A message takes its AMQP form in two steps, both here: `native::encode_…` makes an
//! [`OutgoingMessage`], and [`OutgoingMessage::stamp`] adds the properties that are known only when
//! the message is written.

mod correlation;
mod deadline_stamp;
mod declined_by;
mod decode_failure;
mod digits;
pub(crate) mod native;
mod outgoing;
mod republished_delivery;

pub(crate) use self::correlation::Correlation;
pub(crate) use self::deadline_stamp::sent_at;
pub(crate) use self::declined_by::Declines;
pub(crate) use self::decode_failure::DecodeFailure;
pub(crate) use self::outgoing::{MessageSender, OutgoingMessage};
pub(crate) use self::republished_delivery::Republish;
