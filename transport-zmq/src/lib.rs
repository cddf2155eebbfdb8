//! The ZeroMQ backend of [polywire](https://docs.rs/polywire): request-reply over DEALER and ROUTER sockets,
//! pipelines over PUSH and PULL, publish-subscribe over XPUB and SUB, without a broker.
//!
//! [`Zmq`] is the transport; a URL or a [`ZmqBuilder`] sets it up. One of two engines moves the bytes, see [`Engine`]:
//! feature `engine-omq` (default) or `engine-zeromq`. What travels is described in
//! `docs/wire-native.md` of the repository, so that programs in other languages can take part.
//!
//! ZeroMQ knows nothing of a message once it is handed over, so this backend cannot either: there
//! is no settlement, and a request or a job that somebody held who died is lost. The caller learns
//! it at once where the connection tells, and by its deadline otherwise; a pusher never does.

mod admission;
mod balancer;
mod config;
#[cfg(feature = "engine-omq")]
pub mod curve;
#[cfg(feature = "engine-omq")]
pub mod device;
mod endpoint;
mod engine;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
#[cfg(feature = "engine-omq")]
pub mod plain;
mod plan;
mod publisher;
mod puller;
mod pusher;
mod requester;
mod responder;
#[cfg(feature = "engine-omq")]
mod secret;
#[cfg(feature = "engine-omq")]
mod security;
mod subscriber;
mod transport;
mod url;
mod wire;

pub use self::admission::Admission;
pub use self::config::{Engine, Side, ZmqBuilder};
pub use self::transport::Zmq;
