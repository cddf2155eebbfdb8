//! Engine `omq`: the sockets of `omq-tokio`.
//!
//! The engine connects, reconnects, sends and queues in tasks of its own, and reports connections
//! in two ways that are both used here. A generation counter, with the list of connections, shows
//! which peers are connected now. A stream of monitor events shows why, and may skip events if its
//! reader is slow.
//!
//! - `options` and `error`: what all sockets share.
//!
//! - `socket_endpoints` with `redial`: bind and connect. `connection_limiter`: bounds on inbound
//!   connections.
//!
//! - `frames` and `receive`: messages in both directions.
//!
//! - One file for each socket type: `dealer`, `client_router` with `routed_peer`, `router`, `pull`,
//!   `xpub`, `sub`.

mod client_router;
mod connection_limiter;
mod dealer;
mod endpoint_probe;
mod error;
mod frames;
mod options;
mod pull;
mod receive;
mod redial;
mod routed_peer;
mod router;
mod socket_endpoints;
mod sub;
mod sync_marker_table;
mod xpub;

pub(super) use self::client_router::OmqClientRouter;
pub(super) use self::dealer::OmqDealer;
pub(super) use self::pull::OmqPull;
pub(super) use self::router::OmqRouter;
pub(super) use self::sub::OmqSub;
pub(super) use self::xpub::OmqXPub;
