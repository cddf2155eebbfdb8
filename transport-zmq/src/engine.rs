//! The seam to the ZeroMQ engines: the sockets that the messaging patterns need, behind traits.
//!
//! [`socket`] declares a trait for each socket type. [`select`] opens sockets of the engine that a
//! transport is set to. [`omq`] and [`zeromq`] implement the traits. Everything else of this crate
//! uses the traits only.
//!
//! An engine moves frames. It knows no services, calls or deadlines, and bounds its queues by the
//! number of messages. [`ByteBudget`] adds the bound in bytes.
//!
//! Heartbeats find dead peers. Engine omq sends and judges them itself, by the settings in
//! `omq/options.rs`; for engine zeromq, `zeromq/relay.rs` does.
//!
//! # Requirements
//!
//! - A send that returns `Ok` has handed the message over. A send that finds no room returns the
//!   frames unchanged, or a future that waits.
//!
//! - No future that waits for room loses a message when it is dropped, except one that is part of a
//!   started send.
//!
//! - A lost connection is reported, and the requests that were queued for it are dropped. They must
//!   not reach the next peer at the same endpoint, since their callers get an error.
//!
//! - A closed socket ends all its streams.

#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
mod admission_log;
mod byte_budget;
mod change_endpoints;
#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
mod connected_peer_counts;
#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
mod endpoint_failure;
#[cfg(feature = "engine-omq")]
mod omq;
mod select;
mod send_budgeted_router;
mod setup_errors;
mod socket;
#[cfg(feature = "engine-zeromq")]
mod zeromq;

pub(crate) use self::byte_budget::ByteBudget;
pub(crate) use self::change_endpoints::{add_endpoints, change_endpoint};
pub(crate) use self::select::{
    bind_client_router, bind_dealer, bind_router, connect_dealer, open_pull, open_sub, open_xpub,
};
#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
pub(crate) use self::socket::HasEndpoints;
pub(crate) use self::socket::{
    ClientRouter, Dealer, InboundPeer, Pull, RequestOrigin, Router, SocketControl, Sub, Traffic,
    XPub,
};
#[cfg(all(fuzzing, feature = "engine-zeromq"))]
pub(crate) use self::zeromq::fuzz_inbound_filter;
