//! Sending half of a responder: replies to the peers that requests came from.

use std::sync::Arc;

use polywire_core::Message;
use polywire_core::transport::{Outbound, Sending};

use super::server_socket::ServerSocket;
use crate::common_errors::closed;

/// A sender of replies. It holds the server socket, and knows no service: a reply goes to the peer
/// in its [`ReplyTo`](polywire_core::message::ReplyTo), and names the call.
pub(super) struct ReplySender {
    /// The server socket, kept open.
    socket: Arc<ServerSocket>,
}

impl ReplySender {
    /// Creates a sender on a server socket.
    pub(super) fn new(socket: Arc<ServerSocket>) -> Self {
        Self { socket }
    }
}

impl Outbound for ReplySender {
    /// Sends a reply to the peer in its reply address. Replies are still sent while the socket
    /// takes leave.
    ///
    /// # Errors
    ///
    /// `Closed` after the leave or the end of the runtime, and the errors of `ReplyRouter::send`.
    fn send(&self, message: Message) -> Sending<'_> {
        if self.socket.is_closed() {
            return Sending::ready(Err(closed()));
        }
        self.socket.dispatcher().replies().send(message)
    }

    /// Sends a reply from its box; see [`send`](Self::send).
    fn send_boxed(&self, message: Box<Message>) -> Sending<'_> {
        if self.socket.is_closed() {
            return Sending::ready(Err(closed()));
        }
        self.socket.dispatcher().replies().send(message)
    }
}
