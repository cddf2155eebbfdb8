//! The ZeroMQ backend of [polywire](https://docs.rs/polywire): request-reply over DEALER and ROUTER
//! sockets, pipelines over PUSH and PULL, publish-subscribe over XPUB and SUB, without a broker.
//!
//! [`Zmq`] is the transport; a URL or a [`ZmqBuilder`] configures it. One of two engines moves the
//! bytes, see [`Engine`]: feature `engine-omq` (default) or `engine-zeromq`. CURVE is a feature of
//! its own, `curve`. The wire format is
//! specified in `docs/wire-native.md` of the repository, so that programs in other languages can
//! take part.
//!
//! ZeroMQ does not track a message after sending it, so this backend has no settlement: a request
//! or a job is lost with the process that holds it. The client of a lost request gets an error as
//! soon as the connection is closed, or at its deadline. A pusher gets no error.

mod balancer;
mod common_errors;
mod config;
mod endpoint;
mod engine;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod lock;
#[cfg(feature = "engine-omq")]
pub mod proxy;
mod publisher;
mod puller;
mod pusher;
mod requester;
mod responder;
mod runtime_watch;
mod security;
mod shared;
mod subscriber;
mod transport;
mod url;
mod wire;

pub use self::config::{Batching, Engine, ZmqBuilder};
pub use self::endpoint::Side;
pub use self::security::Admission;
#[cfg(feature = "curve")]
pub use self::security::curve;
#[cfg(feature = "engine-omq")]
pub use self::security::plain;
pub use self::transport::Zmq;
