//! Request-reply: clients and servers, written once over the halves of any transport.
//!
//! - [`Client`] calls methods: [`Client::call`] for the common case, [`Client::request`] for a call
//!   with options ([`CallBuilder`]), [`CallHandle`] for a call that runs in the background. Below a
//!   client is a [`Requester`], which matches replies with calls. [`Args`] are arguments by
//!   position and by name in one call. [`AnyClient`] calls any service by its name.
//! - [`Router`] turns async functions into a service. Its [`Handler`]s ask for what they
//!   [`Extract`] from a request, for the [`State`], and for a [`Replier`] to reply early.
//!   [`uncancelled`] makes one run to its end, even if its caller leaves. A
//!   [`LiveRouter`] changes while it serves.
//! - [`Server`] runs a service. [`ServerHandle`] drains it, and [`ServerStats`] counts what it
//!   does.

mod any_service_client;
mod at_most_once_permits;
mod call_args;
mod call_builder;
mod call_handle;
mod client;
mod client_connect;
mod exchange;
mod pending_call_expiry;
mod pending_calls;
mod reply_reader;
mod requester;
mod service_wait;
mod slow_call_log;

mod early_reply;
mod live_router;
mod router;

mod call_key;
mod cancellations;
mod deduplication_options;
mod failed_request_log;
mod outcome_to_message;
mod reply_cache;
mod reply_sender;
mod request_admission;
mod request_processor;
mod server;
mod server_bind;
mod server_handle;
mod server_stats;

pub use self::any_service_client::AnyClient;
pub use self::call_args::{Arg, ArgList, Args, NoArgs};
pub use self::call_builder::CallBuilder;
pub use self::call_handle::CallHandle;
pub use self::client::Client;
pub use self::client_connect::ClientConnect;
pub use self::deduplication_options::Deduplication;
pub use self::early_reply::Replier;
pub use self::live_router::LiveRouter;
pub use self::reply_reader::ClientStats;
pub use self::requester::Requester;
pub use self::router::{
    AtMostOnce, Extract, FromState, Handler, HandlerOptions, Marked, Router, State, WithOptions,
    at_most_once, uncancelled,
};
pub use self::server::Server;
pub use self::server_bind::ServerBind;
pub use self::server_handle::ServerHandle;
pub use self::server_stats::ServerStats;
