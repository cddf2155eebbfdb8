//! Engine `omq`: the sockets of `omq-tokio`.

mod client_router;
mod connected_peers;
mod dealer;
mod endpoints;
mod error;
mod frames;
mod limiter;
mod options;
mod pull;
mod receive;
mod routed_peer;
mod router;
mod sub;
mod xpub;

pub(super) use self::client_router::OmqClientRouter;
pub(super) use self::dealer::OmqDealer;
pub(super) use self::pull::OmqPull;
pub(super) use self::router::OmqRouter;
pub(super) use self::sub::OmqSub;
pub(super) use self::xpub::OmqXPub;
