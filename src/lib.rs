#![doc = include_str!("../README.md")]

#[cfg(feature = "app")]
pub mod app;
mod connect;

pub use self::connect::connect;

pub use polywire_core::{
    Address, AnyTransport, Body, CallError, CallHandle, Capabilities, Client, Code, Codec, Context,
    DeadLetters, Deadline, Declared, Dialect, Error, ErrorKind, Event, Fault, Filter, Group,
    Handler, Headers, Identity, Instance, Job, Limits, Listener, Memory, Message, Overflow,
    Publisher, Puller, Pusher, Replier, Reply, Request, Result, Retries, Router, Server, Service,
    State, Subscriber, Transport, Valid, Validate, Window, Worker, at_most_once, service_fn,
};
pub use polywire_core::{
    broadcast, context, error, health, message, middleware, pipeline, pubsub, rpc, secret, service,
    transport, worker,
};

#[cfg(feature = "amqp")]
#[doc(inline)]
pub use polywire_amqp as amqp;
#[cfg(feature = "app")]
#[doc(inline)]
pub use polywire_app::App;
#[cfg(feature = "json")]
pub use polywire_codec::Json;
#[cfg(feature = "msgpack")]
pub use polywire_codec::MessagePack;
#[cfg(feature = "testing")]
pub use polywire_core::testing;
#[cfg(feature = "amqprpc")]
#[doc(inline)]
pub use polywire_dialects::amqprpc;
#[cfg(feature = "nameko")]
#[doc(inline)]
pub use polywire_dialects::nameko;
#[cfg(feature = "macros")]
pub use polywire_macros::{Fault, service};
#[cfg(feature = "zmq")]
#[doc(inline)]
pub use polywire_zmq as zmq;

/// Items for the code that `#[service]` generates.
#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod __private {
    pub use serde;
}

#[doc = include_str!("../docs/guide.md")]
pub mod guide {
    #[doc = include_str!("../docs/zeromq.md")]
    pub mod zeromq {}
}

/// Runs the examples of a page that is no part of the documentation.
#[cfg(all(doctest, feature = "msgpack"))]
#[doc = include_str!("../docs/observability.md")]
mod observability {}
