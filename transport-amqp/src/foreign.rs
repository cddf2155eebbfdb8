//! Layouts of other systems on RabbitMQ.
//!
//! [`AmqpLayout`] is the seam: the queues and exchanges of a system, and the layout of its
//! messages, as pure functions. [`ForeignAmqp`] is a transport over the connections of an
//! [`Amqp`](crate::Amqp) that uses a layout in place of the native wire.
//!
//! Connections, confirms, windows, settlement and reconnects are those of the native wire. Not
//! there is all that needs a second message: cancels, the questions of calls that run at most once,
//! canaries, batches, copies of retried, declined or dead-lettered messages.
//!
//! One file for each endpoint handle: [`requester`], [`responder`], [`publisher`], [`subscriber`].
//! [`exchange_publisher`] publishes to the exchange of a handle.

mod exchange_publisher;
mod header_check;
mod layout;
mod message;
mod publisher;
mod requester;
mod responder;
mod subscriber;
mod topology;
mod transport;

pub use self::layout::AmqpLayout;
pub use self::message::AmqpMessage;
pub use self::topology::{EventConsumer, LayoutExchange, LayoutQueue};
pub use self::transport::ForeignAmqp;
