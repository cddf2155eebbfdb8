//! The layout of messages on AMQP: pure functions that need no connection.
//!
//! [`native`] is the only layout, so its functions are called directly and not through a trait.
//! A trait with one implementor hid nothing: each of its callers named the implementor. A foreign
//! layout differs in the queues and exchanges that it declares, too, so its seam belongs where an
//! endpoint handle opens, and is to be drawn when a second layout shows what varies.
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
pub(crate) use self::outgoing::OutgoingMessage;
pub(crate) use self::republished_delivery::Republish;
