//! Engine `omq`: the sockets of `omq-tokio`.
//!
//! The engine connects, reconnects, sends and queues in tasks of its own, and reports connections
//! in two ways that are both used here. A generation counter, with the list of connections, shows
//! which peers are connected now. A stream of monitor events shows why, and may skip events if its
//! reader is slow.
//!
//! - `options` and `engine_error`: what all sockets share.
//!
//! - `socket_endpoints` with `redial_after_denial`: bind and connect. `refused_attempts` and
//!   `connect_failure_probe`: why a connection failed. `connection_limiter` with
//!   `subscription_counts`: bounds on inbound connections.
//!
//! - `frame_conversion` and `receive`: messages in both directions.
//!
//! - One file for each socket type: `dealer` with `dealer/connecting`, `client_router` with
//!   `routed_peer`, `router`, `pull`, `xpub` with `received_marker_subscriptions`, `sub`.

mod client_router;
mod connect_failure_probe;
mod connection_limiter;
mod dealer;
mod engine_error;
mod frame_conversion;
mod options;
mod pull;
mod receive;
mod received_marker_subscriptions;
mod redial_after_denial;
mod refused_attempts;
mod routed_peer;
mod router;
mod socket_endpoints;
mod sub;
mod subscription_counts;
mod xpub;

pub(super) use self::client_router::OmqClientRouter;
pub(super) use self::dealer::OmqDealer;
pub(super) use self::pull::OmqPull;
pub(super) use self::router::OmqRouter;
pub(super) use self::sub::OmqSub;
pub(super) use self::xpub::OmqXPub;
