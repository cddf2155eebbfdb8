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

mod config;
mod endpoint;
mod engine;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod links;
#[cfg(feature = "engine-omq")]
pub mod proxy;
mod publisher;
mod puller;
mod pusher;
mod requester;
mod responder;
mod security;
mod shared;
mod slow;
mod subscriber;
mod transport;
mod url;
mod wire;

pub use self::config::{Engine, ZmqBuilder};
pub use self::endpoint::Side;
pub use self::security::Admission;
#[cfg(feature = "engine-omq")]
pub use self::security::{curve, plain};
pub use self::transport::Zmq;
