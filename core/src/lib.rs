//! The core of [polywire](https://docs.rs/polywire): traits, messages, patterns, and the in-memory transport.
//!
//! A program depends on `polywire`, which re-exports all of this. A backend or a codec of your own depends on this
//! crate alone.
//!
//! Read in this order: [`Message`] is what travels; [`Transport`] opens ends that carry it; [`Dialect`] says how a
//! call lies in it; [`Service`] is what a call is; [`Client`] and [`Server`] are what a program holds.

mod address;
mod body;
mod codec;
mod deadline;
mod dialect;
mod error;
mod fault;
mod headers;
mod limits;
mod message;
mod rpc;
mod service;
mod transport;

pub use self::address::Address;
pub use self::body::Body;
pub use self::codec::Codec;
pub use self::deadline::Deadline;
pub use self::dialect::Dialect;
pub use self::error::{CallError, Error, ErrorKind, Result};
pub use self::fault::{Code, Fault};
pub use self::headers::Headers;
pub use self::limits::Limits;
pub use self::message::{CallId, Message, ReplyTo};
pub use self::rpc::{
    Client, ClientStats, Connect, Handler, InFlight, Outgoing, Requester, Router, Server, ServerBind,
    ServerHandle, ServerStats,
};
pub use self::service::{Context, Reply, Request, Service, ServiceFn, service_fn};
pub use self::transport::memory::Memory;
pub use self::transport::{
    AnyTransport, Capabilities, Delivery, Inbound, Outbound, Outcome, Receipt, Receiver, Sender, Sending,
    Settle, Transport, Window,
};
