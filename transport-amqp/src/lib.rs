//! The AMQP backend of [polywire](https://docs.rs/polywire), for RabbitMQ.
//!
//! [`Amqp`] is the transport, and [`AmqpBuilder`] its builder. The documentation of [`Amqp`] lists
//! the queues, exchanges and headers on the broker, for programs that use them without this crate.
//!
//! Two features exist. `tls`, which is on by default, adds `amqps` URLs with rustls and ring.
//! `metrics` records the counter `polywire_reconnects_total` with the `metrics` facade.

mod batching;
mod buffer_bounds;
mod builder;
mod common_errors;
mod config;
mod connection;
mod connection_events;
mod consuming;
mod custom_topology_settings;
mod dead_letters;
mod engine_cause;
mod engine_error;
mod foreign;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod lock;
mod publisher;
mod publishing;
mod puller;
mod pusher;
mod requester;
mod responder;
mod shared;
mod subscriber;
mod supplied_connections;
mod tasks;
#[cfg(test)]
mod test_warning_counter;
mod topology;
mod transport;
mod unique_number;
mod url;
mod waiting_retries;
mod wire;

/// The engine under this crate, for programs that hand in a connection of their own.
pub use lapin;

pub use self::batching::call_batching::CallBatching;
pub use self::builder::AmqpBuilder;
pub use self::connection::credentials::Credentials;
pub use self::connection_events::{
    ConnectionChange, ConnectionEvent, ConnectionEvents, ConnectionRole,
};
pub use self::consuming::reply_mode::ReplyMode;
pub use self::foreign::{
    AmqpLayout, AmqpMessage, EventConsumer, ForeignAmqp, LayoutExchange, LayoutQueue,
};
pub use self::topology::argument_value::ArgumentValue;
pub use self::topology::custom_topology::{
    BindingDeclaration, ExchangeDeclaration, ExchangeKind, QueueDeclaration, Topology,
};
pub use self::topology::queue_kind::QueueKind;
pub use self::topology::queue_options::{QueueOptions, QueueOverflow};
pub use self::transport::Amqp;
