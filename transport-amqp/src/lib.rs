//! The AMQP backend of [polywire](https://docs.rs/polywire), for RabbitMQ.
//!
//! [`Amqp`] is the transport; [`AmqpBuilder`] sets it up. What lies on the wire, for those who want
//! to speak it from elsewhere, stands in the documentation of [`Amqp`].

mod announcer;
mod backoff;
mod bounds;
mod config;
mod connection;
mod consumer;
mod control;
mod credentials;
mod error;
mod events;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod graveyard;
mod heartbeat;
mod line;
mod lines;
mod opening;
mod publisher;
mod puller;
mod pusher;
mod queue_kind;
mod queue_options;
mod queues;
mod reply_mode;
mod requester;
mod responder;
mod returns;
mod seat;
mod session;
mod subscriber;
#[cfg(feature = "tls")]
mod tls;
mod topology;
mod transport;
mod unique;
mod url;
mod wire;

pub use self::config::AmqpBuilder;
pub use self::credentials::Credentials;
pub use self::events::{Change, ConnectionEvent, ConnectionEvents, Purpose};
pub use self::queue_kind::QueueKind;
pub use self::queue_options::{QueueOptions, QueueOverflow};
pub use self::reply_mode::ReplyMode;
pub use self::transport::Amqp;
