//! The seam to the ZeroMQ engines: the sockets that the messaging patterns need, behind traits.
//!
//! [`select`] opens sockets of the engine that a transport is set to; [`omq`] and [`zeromq`]
//! implement them.

mod budgeted_router;
mod byte_budget;
mod endpoints;
mod error;
#[cfg(feature = "engine-omq")]
mod omq;
mod select;
mod socket;
#[cfg(feature = "engine-zeromq")]
mod zeromq;

pub(crate) use self::byte_budget::ByteBudget;
pub(crate) use self::endpoints::{add_endpoints, change_endpoint};
pub(crate) use self::select::{
    bind_client_router, bind_dealer, bind_router, connect_dealer, open_pull, open_sub, open_xpub,
};
pub(crate) use self::socket::{
    ClientRouter, Dealer, InboundPeer, Pull, RequestOrigin, Router, SocketControl, Sub, Traffic,
    XPub,
};
