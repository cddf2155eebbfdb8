//! The core of [polywire](https://docs.rs/polywire): traits, messages, patterns, and the in-memory transport.
//!
//! A program depends on `polywire`, which re-exports all of this. A backend or a codec of your own
//! depends on this crate alone.
//!
//! Read in this order: [`Message`] is what travels; [`Transport`] opens ends that carry it;
//! [`Dialect`] says how a call lies in it; [`Service`] is what a call is; [`Client`] and [`Server`]
//! are what a program holds.

mod address;
mod body;
mod burst;
mod callee;
mod codec;
mod context;
mod deadline;
mod declared;
mod dialect;
mod error;
mod extensions;
mod fault;
mod filter;
mod headers;
mod history;
mod identity;
mod intake;
mod limits;
mod message;
pub mod middleware;
mod pipeline;
mod pubsub;
mod retries;
mod rpc;
mod service;
mod serving;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;
mod valid;
mod work;

pub use self::address::Address;
pub use self::body::Body;
pub use self::burst::Burst;
pub use self::callee::Callee;
pub use self::codec::Codec;
pub use self::context::{Baggage, CallStack, Context};
pub use self::deadline::Deadline;
pub use self::declared::{Declared, Received};
pub use self::dialect::Dialect;
pub use self::error::{CallError, Error, ErrorKind, Result};
pub use self::extensions::Extensions;
pub use self::fault::{Code, Fault};
pub use self::filter::Filter;
pub use self::headers::Headers;
pub use self::history::{Death, History, Reason};
pub use self::identity::Identity;
pub use self::limits::Limits;
pub use self::message::{CallId, Message, ReplyTo};
pub use self::pipeline::{
    DeadLetter, DeadLetters, Job, Puller, PullerBind, Pusher, PusherConnect, Unsettled, Worker,
    WorkerBind,
};
pub use self::pubsub::{
    Event, Listener, ListenerBind, Overflow, Publisher, PublisherConnect, Subscriber,
    SubscriberBind,
};
pub use self::retries::Retries;
pub use self::rpc::{
    Client, ClientStats, Connect, Extract, FromState, Handler, InFlight, Outgoing, Replier,
    Requester, Router, Server, ServerBind, ServerHandle, ServerStats, State, Suppression,
};
pub use self::service::{Reply, Request, Service, ServiceFn, service_fn};
pub use self::serving::Serving;
pub use self::transport::memory::Memory;
pub use self::transport::{
    Abandoned, AnyTransport, Burial, Capabilities, Deferral, Delivery, Filters, Graveyard, Group,
    Inbound, Interest, Origin, Outbound, Outcome, Receipt, Receiver, Sender, Sending, Settle,
    Subscription, Transport, Window,
};
pub use self::valid::{Valid, Validate};
pub use self::work::{WorkHandle, WorkStats};
