//! Responders: one server socket for all services of a transport, and the dispatch of its requests
//! to them.
//!
//! - `server_socket`: [`ServerSocket`], the ROUTER socket and its task.
//!
//! - `dispatcher`: reading, decoding and dispatch of requests. `reply_router`: replies.
//!   `peer_batches`: replies that leave together, and requests that arrive together.
//!   `service_request`: what it decodes.
//!
//! - `services` and `service_queue`: the queues between the socket and the responders.
//!   `queue_consumer`: a responder, as its queue knows it.
//!
//! - `request_receiver` and `reply_sender`: the two halves of a responder. `declined_requests`:
//!   requests that another responder can take.
//!
//! - `leave`: the end of the socket, which leaves no caller in doubt. `lost_one_way_calls`: the log
//!   line of requests that cannot be refused.
//!
//! - `slow_callers`: the policy for callers that do not read.
//!
//! The socket has one task, which runs `Dispatcher::run`. The task sends batches and queued
//! refusals, takes leave, and reads requests unless a sole responder reads them itself.
//!
//! Locks are held for table operations only, never across an await. Where two are held, the order
//! is services, then a queue or the unsent refusals. The lock of the received messages comes before
//! that of the batches.

mod abandoned_calls;
mod canary_sender;
mod count_guard;
mod declined_requests;
mod dispatcher;
mod leave;
mod lost_one_way_calls;
mod misdelivered_canaries;
mod peer_batches;
mod queue_consumer;
mod reply_router;
mod reply_sender;
mod request_receiver;
mod server_socket;
mod service_queue;
mod service_request;
mod services;
mod slow_callers;

use std::sync::Arc;

use polywire_core::transport::{Receiver, Sender};
use polywire_core::{Address, Window};

#[cfg_attr(not(feature = "engine-omq"), allow(unused_imports, reason = "proxies use it"))]
pub(crate) use self::leave::take_leave;
use self::reply_sender::ReplySender;
use self::request_receiver::RequestReceiver;
pub(crate) use self::server_socket::ServerSocket;
#[cfg_attr(not(feature = "engine-omq"), allow(unused_imports, reason = "proxies use it"))]
pub(crate) use self::slow_callers::{SlowCallers, is_over_budget};

/// Opens a responder of `service` on a server socket.
///
/// Its window is the number of requests that may be queued for it. Dropping the receiver removes
/// the responder; requests that no other responder serves are refused then.
pub(crate) fn open(
    socket: &Arc<ServerSocket>,
    service: &Address,
    window: Window,
) -> (Sender, Receiver) {
    let requests = RequestReceiver::open(socket.clone(), service, window);
    (Sender::new(ReplySender::new(socket.clone())), Receiver::new(requests))
}
