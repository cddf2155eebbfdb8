#![doc = include_str!("../README.md")]

mod connect;

pub use self::connect::connect;

pub use polywire_core::{
    Abandoned, Address, AnyTransport, Baggage, Body, Burial, CallError, CallId, CallStack, Callee,
    Capabilities, Client, ClientStats, Code, Codec, Connect, Context, DeadLetter, DeadLetters,
    Deadline, Death, Declared, Deferral, Delivery, Dialect, Error, ErrorKind, Event, Extensions,
    Extract, Fault, Filter, Filters, FromState, Graveyard, Group, Handler, Headers, History,
    Identity, InFlight, Inbound, Interest, Job, Limits, Listener, ListenerBind, Memory, Message,
    Origin, Outbound, Outcome, Outgoing, Overflow, Publisher, PublisherConnect, Puller, PullerBind,
    Pusher, PusherConnect, Reason, Receipt, Received, Receiver, Replier, Reply, ReplyTo, Request,
    Requester, Result, Retries, Router, Sender, Sending, Server, ServerBind, ServerHandle,
    ServerStats, Service, ServiceFn, Serving, Settle, State, Subscriber, SubscriberBind,
    Subscription, Suppression, Transport, Unsettled, Valid, Validate, Window, WorkHandle,
    WorkStats, Worker, WorkerBind, middleware, service_fn,
};

#[cfg(feature = "amqp")]
#[doc(inline)]
pub use polywire_amqp as amqp;
#[cfg(feature = "json")]
pub use polywire_codec::Json;
#[cfg(feature = "msgpack")]
pub use polywire_codec::MessagePack;
#[cfg(feature = "testing")]
pub use polywire_core::testing;
#[cfg(feature = "macros")]
pub use polywire_macros::{Fault, service};
#[cfg(feature = "zmq")]
#[doc(inline)]
pub use polywire_zmq as zmq;

/// What the code that `#[service]` writes refers to; not for use by hand.
#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod __private {
    pub use serde;
}
