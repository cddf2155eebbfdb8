//! The AMQP backend of [polywire](https://docs.rs/polywire), for RabbitMQ.
//!
//! [`Amqp`] is the transport; [`AmqpBuilder`] sets it up. What lies on the wire, for those who want to speak it from
//! elsewhere, stands in the documentation of [`Amqp`].

mod config;
mod connection;
mod credentials;
mod error;
mod events;
mod publisher;
mod requester;
mod responder;
mod session;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod url;
mod wire;

pub use self::config::AmqpBuilder;
pub use self::credentials::Credentials;
pub use self::events::{Change, ConnectionEvent, ConnectionEvents, Purpose};
pub use self::transport::Amqp;
