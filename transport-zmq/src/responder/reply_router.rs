//! Replies and refusals of a server socket: the way back to the callers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt;
use polywire_core::message::{CallId, ReplyTo};
use polywire_core::transport::{Delivery, LogThrottle, Sending};
use polywire_core::{Limits, Message, Result};
use tokio::sync::Notify;

use super::slow_peers::SlowPeers;
use crate::engine::{Router, SocketControl};
use crate::error::{caller_gone, lock};
use crate::wire::{self, Frames, Role};

/// The sending side of a server socket.
///
/// Each reply goes to the peer that its request came from, as the routing id in
/// [`Message::reply_to`] says.
pub(super) struct ReplyRouter {
    /// The socket, which [`Dispatcher`](super::dispatcher::Dispatcher) reads.
    router: Arc<dyn Router>,
    /// Limits on replies.
    limits: Limits,
    /// The largest message that the socket accepts.
    message_max: u64,
    /// Callers that do not read their replies.
    slow_peers: SlowPeers,
    /// Refusals that found no room, oldest first. The task of the dispatcher sends them.
    unsent: Mutex<VecDeque<(Bytes, Frames)>>,
    /// Signals a new one.
    is_unsent: Notify,
    /// Throttle for log lines of refusals that are dropped.
    dropped: LogThrottle,
}

/// Refusals that wait for room: 10,000. Beyond them, a refusal is dropped, and its call ends by its
/// deadline.
const UNSENT_MAX: usize = 10_000;

impl ReplyRouter {
    /// Wraps an open socket, which accepts messages up to `message_max`. `limits` apply to each
    /// reply.
    pub(super) fn new(router: Arc<dyn Router>, limits: Limits, message_max: u64) -> Self {
        let (slow_peers, unsent) = (SlowPeers::default(), Mutex::default());
        let (is_unsent, dropped) = (Notify::new(), LogThrottle::new());
        Self { router, limits, message_max, slow_peers, unsent, is_unsent, dropped }
    }

    /// The socket, to take leave of its peers.
    pub(super) fn router(&self) -> &dyn Router {
        &*self.router
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

    /// Queues the refusals of requests that are left at the end.
    pub(super) fn refuse_at_end(&self, unserved: Vec<Result<Delivery>>) {
        let refusals = unserved.into_iter().filter_map(|request| {
            let message = request.ok()?.message;
            let (call, peer) = (message.id?, message.reply_to?);
            Some((peer.as_bytes().clone(), self.refusal(call)?))
        });
        lock(&self.unsent).extend(refusals);
    }

    /// Replies that no responder here serves the service, unless the request gets no reply or is an
    /// error. The requester then tries another server.
    pub(super) fn refuse(&self, request: Result<Delivery>) {
        let Ok(Delivery { message, .. }) = request else { return };
        if let (Some(call), Some(peer)) = (message.id, message.reply_to) {
            self.send_refusal(&peer, call);
        }
    }

    /// Tells a peer that this socket does not leave, and the largest message that it accepts.
    pub(super) fn serve_on(&self, peer: &ReplyTo) {
        // Without room, the peer finds out by itself, some seconds later.
        let frames = wire::serve_on(self.message_max);
        let _ = self.router.send(peer.as_bytes().clone(), frames).now_or_never();
    }

    /// Sends a refusal, without waiting for large replies before it. If the peer's queue in the
    /// engine is full, the refusal is queued for the task of the dispatcher.
    fn send_refusal(&self, peer: &ReplyTo, call: CallId) {
        if let Some(frames) = self.refusal(call) {
            self.send_soon(peer.as_bytes().clone(), frames);
        }
    }

    fn refusal(&self, call: CallId) -> Option<Frames> {
        let mut refusal = Message::default();
        refusal.id = Some(call);
        wire::encode(&Role::Refusal, refusal, &self.limits).ok()
    }

    /// Sends the reply of a request that no task handles any more, in the same way as a refusal.
    pub(super) fn reply_soon(&self, message: Message) {
        let Some(peer) = message.reply_to.as_ref().map(|peer| peer.as_bytes().clone()) else {
            return;
        };
        if let Ok(frames) = wire::encode(&Role::Reply, message, &self.limits) {
            self.send_soon(peer, frames);
        }
    }

    /// Sends a small message at once, or queues it.
    fn send_soon(&self, peer: Bytes, frames: Frames) {
        if self.router.send(peer.clone(), frames.clone()).now_or_never().is_some() {
            return;
        }
        let mut unsent = lock(&self.unsent);
        if unsent.len() < UNSENT_MAX {
            unsent.push_back((peer, frames));
            self.is_unsent.notify_one();
        } else if let Some(count) = self.dropped.note() {
            tracing::warn!(count, "dropped refusals of callers that do not read");
        }
    }

    /// Sends queued refusals, one after the other, without an end. One that its peer has no room
    /// for within the patience is dropped. If the future is dropped, the refusal that is being sent
    /// stays queued.
    pub(super) async fn send_unsent_refusals(&self) {
        loop {
            self.is_unsent.notified().await;
            loop {
                let next = lock(&self.unsent).front().cloned();
                let Some((peer, frames)) = next else { break };
                // An error means that the peer is gone, or does not read.
                let _ = self.slow_peers.send(&*self.router, peer, frames).await;
                lock(&self.unsent).pop_front();
            }
        }
    }

    /// Takes the queued refusals.
    pub(super) fn take_unsent_refusals(&self) -> VecDeque<(Bytes, Frames)> {
        std::mem::take(&mut *lock(&self.unsent))
    }
}
