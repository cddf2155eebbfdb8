//! Replies and refusals of a server socket: the way back to the callers.

use std::sync::Arc;

use polywire_core::message::{CallId, ReplyTo};
use polywire_core::transport::{Delivery, Sending};
use polywire_core::{Limits, Message, Result};

use super::slow_peers::SlowPeers;
use crate::engine::{Router, SocketControl};
use crate::error::caller_gone;
use crate::wire::{self, Role};

/// The sending side of a server socket.
///
/// Each reply goes to the peer that its request came from, as the routing id in
/// [`Message::reply_to`] says.
pub(super) struct ReplyRouter {
    /// The socket, which [`Dispatcher`](super::dispatcher::Dispatcher) reads.
    router: Arc<dyn Router>,
    /// Limits on replies.
    limits: Limits,
    /// Callers that do not read their replies.
    slow_peers: SlowPeers,
}

impl ReplyRouter {
    /// Wraps an open socket. `limits` apply to each reply.
    pub(super) fn new(router: Arc<dyn Router>, limits: Limits) -> Self {
        Self { router, limits, slow_peers: SlowPeers::default() }
    }

    /// The socket, for endpoint changes and to close it.
    pub(super) fn socket(&self) -> &dyn SocketControl {
        &*self.router
    }

    /// Sends a reply, after waiting for room if the caller is not [slow](SlowPeers). Dropping the
    /// returned value may drop the reply.
    ///
    /// # Errors
    ///
    /// `Unroutable` if the caller is gone or does not read its replies, and `TooLarge` if the reply
    /// exceeds the limits.
    pub(super) fn send(&self, message: Message) -> Sending<'_> {
        let Some(peer) = message.reply_to.as_ref().map(|peer| peer.as_bytes().clone()) else {
            return Sending::ready(Err(caller_gone()));
        };
        let checked = self.limits.check(&message);
        match checked.and_then(|()| wire::encode(&Role::Reply, message, &self.limits)) {
            Ok(frames) => self.slow_peers.send(&*self.router, peer, frames),
            Err(error) => Sending::ready(Err(error)),
        }
    }

    /// Refuses requests that have lost their responder.
    pub(super) fn refuse_all(&self, unserved: Vec<Result<Delivery>>) {
        for request in unserved {
            self.refuse(request);
        }
    }

    /// Replies that no responder here serves the service, unless the request gets no reply or is an
    /// error. The requester then tries another server.
    pub(super) fn refuse(&self, request: Result<Delivery>) {
        let Ok(Delivery { message, .. }) = request else { return };
        if let (Some(call), Some(peer)) = (message.id, message.reply_to) {
            self.send_refusal(&peer, call);
        }
    }

    /// Sends a refusal, without waiting for large replies before it.
    ///
    /// The refusal is dropped if the peer's queue in the engine is full, since no task waits for
    /// room here; then the call times out.
    fn send_refusal(&self, peer: &ReplyTo, call: CallId) {
        let mut refusal = Message::default();
        refusal.id = Some(call);
        if let Ok(frames) = wire::encode(&Role::Refusal, refusal, &self.limits) {
            drop(self.router.send(peer.as_bytes().clone(), frames));
        }
    }
}
