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
//! - `batching_sender`: messages that leave one by one, or in a batch.
//!
//! - `peer_message_max`: the largest message that a server accepts.
//!
//! - `leave_notice`: the notice of a server that takes no more requests.
//!
//! - `bounds_questions` and `one_way_linger`: a client that closes, and what its servers have not
//!   read.
//!
//! - `connection_direction`: the side that connects.
//!
//! - `unsent_errors`: errors of messages that were not sent.
//!
//! - `outage_log`: log lines about the time without a peer.
//!
//! - `in_flight_calls`: the calls of one peer. `in_flight_call`: what is known of each of them.
//!
//! - `reply_stream`: the way back. `reply_source`: the sockets that it reads.
//!   `resend_decision`: which calls are sent again. `resends`: the state of those.
//!
//! - `peer_endpoints` and `inbound_peers`: peers that come and go. `peer_reconnect`: the task that
//!   connects one of them. `shared_state`: what all of them share.
//!
//! Locks are held for table operations only, never across an await. Where several are held, the
//! order is `resends`, `peer_set`, `leave_notice`, then `in_flight_calls` or `batching_sender`.
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
mod batching_sender;
mod bounds_questions;
mod connection_direction;
mod in_flight_call;
mod in_flight_calls;
mod inbound_peers;
mod leave_notice;
mod one_way_linger;
mod outage_log;
mod peer;
mod peer_endpoints;
mod peer_message_max;
mod peer_reconnect;
mod peer_set;
mod reply_source;
mod reply_stream;
mod resend_decision;
mod resends;
mod shared_state;
mod unsent_errors;

pub(crate) use self::balanced_sender::BalancedSender;
pub(crate) use self::balancer::Balancer;
#[cfg_attr(not(feature = "engine-omq"), allow(unused_imports, reason = "proxies use it"))]
pub(crate) use self::in_flight_call::{CANCEL_GRACE, InFlightCall};
pub(crate) use self::reply_stream::{ReplyEvent, ReplyStream};
