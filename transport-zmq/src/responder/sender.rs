//! Sending half of a responder.

use std::sync::Arc;

use polywire_core::Message;
use polywire_core::transport::{Outbound, Sending};

use super::server_socket::ServerSocket;
use crate::error::closed;

/// A sender of replies.
pub(super) struct ReplySender {
    socket: Arc<ServerSocket>,
}

impl ReplySender {
    pub(super) fn new(socket: Arc<ServerSocket>) -> Self {
        Self { socket }
    }
}

impl Outbound for ReplySender {
    fn send(&self, message: Message) -> Sending<'_> {
        let dispatcher = self.socket.dispatcher();
        if dispatcher.is_closed() {
            return Sending::ready(Err(closed()));
        }
        dispatcher.reply(message)
    }
}
