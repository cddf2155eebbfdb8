//! The core of [polywire](https://docs.rs/polywire): traits, messages, patterns, and the in-memory transport.
//!
//! A program depends on `polywire`, which re-exports all of this. A backend or a codec of your own
//! depends on this crate alone.
//!
//! Read in this order: [`Message`] is what travels; [`Transport`] opens ends that carry it;
//! [`Dialect`] says how a call lies in it; [`Service`] is what a call is; [`Client`] and [`Server`]
//! are what a program holds.

pub mod context;
mod dialect;
pub mod error;
pub mod message;
pub mod middleware;
pub mod pipeline;
pub mod pubsub;
pub mod rpc;
pub mod service;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transport;
pub mod worker;

pub use self::context::Context;
pub use self::dialect::{Codec, Dialect};
pub use self::error::{CallError, Code, Declared, Error, ErrorKind, Fault, Result};
pub use self::message::{Address, Body, Deadline, Filter, Headers, Identity, Limits, Message};
pub use self::pipeline::{DeadLetters, Job, Puller, Pusher, Worker};
pub use self::pubsub::{Event, Listener, Overflow, Publisher, Subscriber};
pub use self::rpc::{Client, Handler, InFlight, Replier, Router, Server, State};
pub use self::service::{Reply, Request, Service, Valid, Validate, service_fn};
pub use self::transport::{AnyTransport, Capabilities, Group, Memory, Transport, Window};
pub use self::worker::Retries;
