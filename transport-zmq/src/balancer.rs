//! Load balancing over the connections of a requester, a pusher or a proxy backend.
//!
//! [`Balancer`] picks a peer for each message and waits for room. [`ReplyStream`] reads what the
//! peers send back, and retries calls that another peer can still carry out.

#[expect(clippy::module_inception, reason = "this file declares the modules and defines nothing")]
mod balancer;
mod call;
mod endpoints;
mod in_flight;
mod inbound;
mod outage;
mod peer;
mod peer_set;
mod replies;
mod retry;
mod sender;
mod state;

pub(crate) use self::balancer::Balancer;
pub(crate) use self::call::InFlightCall;
#[cfg_attr(not(feature = "engine-omq"), allow(unused_imports, reason = "proxies use it"))]
pub(crate) use self::replies::{ReplyEvent, ReplyStream};
pub(crate) use self::sender::BalancedSender;
