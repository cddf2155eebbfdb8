//! The core of [polywire](https://docs.rs/polywire): messages, traits, patterns, and the in-memory
//! transport.
//!
//! Programs depend on `polywire`, which re-exports this crate together with the transports and the
//! codecs. Authors of a backend or of a codec depend on this crate alone.
//!
//! # The root
//!
//! The root re-exports the types that most programs name:
//!
//! - **Request-reply**: [`Client`] calls the methods of a [`Server`]. [`Router`] turns async
//!   functions into a service. Handlers ask for the [`State`], the [`Context`] and a [`Replier`].
//! - **Pipeline**: [`Pusher`] sends jobs. [`Worker`] runs a handler for each job, [`Puller`] yields
//!   the jobs as a stream, and [`DeadLetters`] keeps the failed ones.
//! - **Publish-subscribe**: [`Publisher`] sends events. [`Listener`] runs handlers for them, and
//!   [`Subscriber`] yields them as a stream.
//! - **Services and middleware**: [`Service`] is the one trait between a client and a transport, or
//!   between a server and a handler.
//! - **Messages and codecs**: [`Message`], its parts, and the [`Codec`] that encodes values.
//! - **Errors**: [`Error`] on this side, [`Fault`] from the peer, [`CallError`] for a call.
//! - **Transports**: [`Transport`] is the trait of a backend, [`Memory`] the backend for tests and
//!   for use within a process.
//!
//! # The modules
//!
//! | module | content |
//! |---|---|
//! | [`message`] | messages: addresses, headers, bodies, deadlines, filters, history |
//! | [`error`] | errors, faults, codes, declared errors |
//! | [`service`] | the [`Service`] trait, requests, replies, validated values |
//! | [`context`] | the context of a handler, baggage, call stacks |
//! | [`transport`] | the traits of a backend: sender, receiver, delivery, receipt, capabilities |
//! | [`secret`] | passwords and keys, from files and from the environment |
//! | [`rpc`] | request-reply: clients, servers, routers, deduplication |
//! | [`health`] | the state of a connection and its endpoint handles, canaries |
//! | [`pipeline`] | jobs: pushers, pullers, workers, dead letters |
//! | [`pubsub`] | events: publishers, subscribers, listeners, overflow policies |
//! | [`broadcast`] | calls to every instance of a service, and all of their outcomes |
//! | [`worker`] | parts common to servers, workers and listeners: serving, retries, counters |
//! | [`middleware`] | layers: retries, limits, circuit breakers, tracing, metrics, authentication |
//! | `testing` | helpers for tests: mocks, local services, outages (feature `testing`) |
//!
//! # Reading order
//!
//! A user starts with [`Client`], [`Router`] and [`Server`], then reads [`CallError`] and
//! [`middleware`]. An author of a backend starts with the contract of [`Transport`], then reads
//! [`transport`] and [`Message`]. An author of a codec reads [`Codec`]; [`Dialect`] is for the
//! conventions of foreign systems.
//!
//! # Example
//!
//! ```
//! # use polywire_codec::MessagePack;
//! use polywire_core::{CallError, Client, Memory, Router, Server};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), CallError> {
//! let transport = Memory::new();
//! let router = Router::new(MessagePack).method("add", async |(a, b): (i64, i64)| Ok(a + b));
//! tokio::spawn(Server::bind(&transport, "calculator").await?.serve(router));
//!
//! let client = Client::connect(&transport, "calculator", MessagePack).await?;
//! assert_eq!(client.call::<i64>("add", &(2, 3)).await?, 5);
//! # Ok(())
//! # }
//! ```

pub mod broadcast;
pub mod context;
mod dialect;
pub mod error;
mod handler_stop_reason;
pub mod health;
mod lazy_timeout;
pub mod message;
pub mod middleware;
mod panic_containment;
pub mod pipeline;
pub mod pubsub;
pub mod rpc;
pub mod secret;
pub mod service;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transport;
pub mod worker;

pub use self::context::Context;
pub use self::dialect::{Codec, Dialect};
pub use self::error::{CallError, Code, Declared, Error, ErrorKind, Fault, Result};
pub use self::message::{
    Address, Body, Deadline, Filter, Headers, Identity, Instance, Limits, Message,
};
pub use self::pipeline::{DeadLetters, Job, Puller, Pusher, Worker};
pub use self::pubsub::{Event, Listener, Overflow, Publisher, Subscriber};
pub use self::rpc::{CallHandle, Client, Handler, Replier, Router, Server, State, at_most_once};
pub use self::service::{Reply, Request, Service, Valid, Validate, service_fn};
pub use self::transport::{AnyTransport, Capabilities, Group, Memory, Transport, Window};
pub use self::worker::Retries;
