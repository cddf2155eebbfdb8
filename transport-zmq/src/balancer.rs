//! Load balancing over the connections of a requester, a pusher or a proxy backend.
//!
//! [`Balancer`] picks a peer for each message and waits for room. [`ReplyStream`] reads the
//! messages that the peers send back, and sends calls again that another peer can still carry out.
//!
//! The files in the order in which a request meets them:
//!
//! - `balanced_sender`: [`BalancedSender`] checks and encodes the message.
//!
//! - `balancer`: [`Balancer`] sends at once or waits for a peer, for room and for its turn.
//!
//! - `peer_set`: the choice of a peer. `peer`: one connection, its liveness and its task.
//!
//! - `outgoing`: messages that leave one by one, or in a batch.
//!
//! - `peer_message_max`: the largest message that a server accepts.
//!
//! - `peer_leave`: a server that takes no more requests.
//!
//! - `open_questions` and `last_answers`: a client that closes, and what its servers have not read.
//!
//! - `connection_direction`: the side that connects.
//!
//! - `no_peer_error`: errors of messages that were not sent.
//!
//! - `outage_log`: log lines about the time without a peer.
//!
//! - `in_flight_calls`: the calls of one peer. `in_flight_call`: what is known of each of them.
//!
//! - `reply_stream`: the way back. `resends`: calls that are sent again.
//!
//! - `peer_endpoints` and `inbound_peers`: peers that come and go. `state`: what all of them share.
//!
//! Locks are held for table operations only, never across an await. Where several are held, the
//! order is `resends`, `peer_set`, `peer_leave`, then `in_flight_calls` or `outgoing`.
//!
//! The tasks of a balancer:
//!
//! - a supervisor for each endpoint to connect to, and for a PUSH socket that listens;
//!
//! - a task for all inbound peers, once a requester has bound an endpoint;
//!
//! - a short task for each peer whose batch waits;
//!
//! - a task for the last answers, while the balancer closes.
//!
//! The reply stream runs in the task that reads it.

mod balanced_sender;
#[expect(clippy::module_inception, reason = "this file declares the modules and defines nothing")]
mod balancer;
mod connection_direction;
mod in_flight_call;
mod in_flight_calls;
mod inbound_peers;
mod last_answers;
mod no_peer_error;
mod open_questions;
mod outage_log;
mod outgoing;
mod peer;
mod peer_endpoints;
mod peer_leave;
mod peer_message_max;
mod peer_set;
mod reply_stream;
mod resends;
mod state;
mod supervise;

pub(crate) use self::balanced_sender::BalancedSender;
pub(crate) use self::balancer::Balancer;
#[cfg_attr(not(feature = "engine-omq"), allow(unused_imports, reason = "proxies use it"))]
pub(crate) use self::in_flight_call::{CANCEL_GRACE, InFlightCall};
pub(crate) use self::reply_stream::{ReplyEvent, ReplyStream};
