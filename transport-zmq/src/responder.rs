//! Responders: one server socket for all services of a transport, and the dispatch of its requests
//! to them.

mod decline;
mod dispatcher;
mod receiver;
mod request;
mod sender;
mod server_socket;
mod service_queue;
mod services;
mod slow_peers;

use std::sync::Arc;

use polywire_core::transport::{Receiver, Sender};
use polywire_core::{Address, Window};

use self::receiver::RequestReceiver;
use self::sender::ReplySender;
pub(crate) use self::server_socket::ServerSocket;
#[cfg_attr(not(feature = "engine-omq"), allow(unused_imports, reason = "proxies use it"))]
pub(crate) use self::slow_peers::{SlowPeers, is_over_budget};

/// Opens a responder of `service` on a server socket.
pub(crate) fn open(
    socket: &Arc<ServerSocket>,
    service: &Address,
    window: Window,
) -> (Sender, Receiver) {
    let requests = RequestReceiver::open(socket.clone(), service, window);
    (Sender::new(ReplySender::new(socket.clone())), Receiver::new(requests))
}
