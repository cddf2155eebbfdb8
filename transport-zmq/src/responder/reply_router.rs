//! Replies and refusals of a server socket: the way back to the callers.

#[cfg(test)]
mod tests;

use std::borrow::BorrowMut;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use polywire_core::message::{CallId, ReplyTo};
use polywire_core::transport::{Delivery, LogThrottle, Sending};
use polywire_core::{Limits, Message, Result};
use tokio::sync::Notify;

use super::lost_one_way_calls;
use super::peer_batches::{DueBatch, PeerBatches};
use super::slow_callers::SlowCallers;
use crate::common_errors::caller_gone;
use crate::config::Settings;
use crate::engine::{RequestOrigin, Router, SocketControl};
use crate::lock::lock;
use crate::wire::{self, Frames, MessageRole, StatedBounds};

/// The sending side of a server socket.
///
/// Each reply goes to the peer that its request came from, as the routing id in
/// [`Message::reply_to`] says.
pub(super) struct ReplyRouter {
    /// The socket, which [`Dispatcher`](super::dispatcher::Dispatcher) reads.
    router: Arc<dyn Router>,
    /// Limits on replies.
    limits: Limits,
    /// The bounds that the socket states to its peers.
    own_bounds: StatedBounds,
    /// Replies that leave together.
    batches: Arc<PeerBatches>,
    /// Callers that do not read their replies.
    slow_callers: SlowCallers,
    /// Refusals and other answers that found no room, oldest first. The task of the dispatcher
    /// sends them.
    unsent: Mutex<VecDeque<(Bytes, Frames)>>,
    /// Signals a new one.
    is_unsent: Notify,
    /// Throttle for log lines of refusals that are dropped.
    dropped: LogThrottle,
    /// Throttle for log lines of batches that are dropped.
    dropped_batches: LogThrottle,
    /// Throttle for log lines of one-way calls that reach no responder.
    lost_one_way: LogThrottle,
}

/// Refusals and other answers that wait for room: 10,000. Beyond them, a refusal is dropped, and
/// its call ends by its deadline.
const UNSENT_MAX: usize = 10_000;

impl ReplyRouter {
    /// Wraps an open socket.
    pub(super) fn new(router: Arc<dyn Router>, settings: &Settings) -> Self {
        let (limits, own_bounds) = (settings.limits, settings.own_bounds());
        let batches = Arc::new(PeerBatches::new(settings.batch_max()));
        Self {
            router,
            limits,
            own_bounds,
            batches,
            slow_callers: SlowCallers::default(),
            unsent: Mutex::default(),
            is_unsent: Notify::new(),
            dropped: LogThrottle::new(),
            dropped_batches: LogThrottle::new(),
            lost_one_way: LogThrottle::new(),
        }
    }

    /// The socket, to take leave of its peers.
    pub(super) fn router(&self) -> &dyn Router {
        &*self.router
    }

    /// The socket, for endpoint changes and to close it.
    pub(super) fn socket(&self) -> &dyn SocketControl {
        &*self.router
    }

    /// Sends a reply, boxed or not, after waiting for room if the caller is not
    /// [slow](SlowCallers). Dropping the returned value may drop the reply.
    ///
    /// # Errors
    ///
    /// - `Unroutable` if the caller is gone or does not read its replies;
    ///
    /// - `TooLarge` if the reply exceeds the limits, and `Config` for a reserved header name;
    ///
    /// - `Closed` if the socket is closed.
    pub(super) fn send(&self, message: impl BorrowMut<Message>) -> Sending<'_> {
        let reply: &Message = message.borrow();
        let Some(peer) = reply.reply_to.as_ref().map(|peer| peer.as_bytes().clone()) else {
            return Sending::ready(Err(caller_gone()));
        };
        let checked = self.limits.check(reply);
        match checked.and_then(|()| wire::encode(&MessageRole::Reply, message, &self.limits)) {
            Ok(frames) => self.send_frames(peer, frames),
            Err(error) => Sending::ready(Err(error)),
        }
    }

    /// Sends a reply, alone or in a batch. A reply in a batch counts as sent.
    fn send_frames(&self, peer: Bytes, frames: Frames) -> Sending<'_> {
        match self.batches.place(&peer, frames) {
            Ok(()) => Sending::ready(Ok(())),
            Err(frames) => self.slow_callers.send(&*self.router, peer, frames),
        }
    }

    /// The messages of the socket, those of batches one by one.
    pub(super) fn requests(&self) -> BoxStream<'static, (RequestOrigin, Frames)> {
        self.batches.split(self.router.requests())
    }

    /// Sends batches of replies, without an end. Batches of several peers wait for room at the same
    /// time. Dropping the future drops the batches that wait for room; then
    /// [`send_last_batches`](Self::send_last_batches) counts them.
    pub(super) async fn send_batches(&self) {
        // Two for each peer at most: one may fill before the other counts as waiting.
        let mut waiting = FuturesUnordered::new();
        // Kept, since a dropped one may have taken the signal of a batch.
        let next = self.batches.next();
        tokio::pin!(next);
        loop {
            let batches = tokio::select! {
                Some((peer, replies, sent)) = waiting.next() => {
                    self.batches.unblock(&peer, replies);
                    self.log_dropped(peer, replies, &sent);
                    continue;
                }
                batches = &mut next => batches,
            };
            next.set(self.batches.next());
            for DueBatch { peer, frames, replies } in batches {
                let mut sending = self.slow_callers.send(&*self.router, peer.clone(), frames);
                match (&mut sending).now_or_never() {
                    Some(sent) => self.log_dropped(peer, replies, &sent),
                    None => {
                        self.batches.block(&peer, replies);
                        waiting.push(sending.map(move |sent| (peer, replies, sent)));
                    }
                }
            }
        }
    }

    /// Logs a batch that was dropped, throttled. The error means that the callers are gone, or do
    /// not read; their handlers have learned of no error.
    fn log_dropped(&self, peer: Bytes, replies: usize, sent: &Result<()>) {
        if let Err(error) = sent
            && let Some(count) = self.dropped_batches.note()
        {
            let peer = ReplyTo::new(peer);
            tracing::warn!(?error, ?peer, replies, count, "dropped batches of replies");
        }
    }

    /// Sends the batches that are left, without waiting for room, since the socket closes next.
    /// Later replies leave alone, and fail.
    ///
    /// Returns the number of replies that count as sent and have found no room, with one of their
    /// peers. `None` if there are none.
    pub(super) fn send_last_batches(&self) -> Option<(ReplyTo, usize)> {
        let (batches, mut unsent) = self.batches.end();
        for DueBatch { peer, frames, replies } in batches {
            // The socket lingers for what it has taken. An error means that the callers are gone.
            if self.router.send(peer.clone(), frames).now_or_never().is_none() {
                unsent.push((peer, replies));
            }
        }
        let replies = unsent.iter().map(|(_, replies)| replies).sum();
        unsent.pop().map(|(peer, _)| (ReplyTo::new(peer), replies))
    }

    /// Refuses requests that have lost their responder. Logs the one-way calls among them.
    pub(super) fn refuse_all(&self, unserved: Vec<Result<Delivery>>) {
        let is_refused = unserved.into_iter().map(|request| self.refuse_call(request));
        lost_one_way_calls::log(is_refused.filter(|is_refused| !is_refused).count() as u64);
    }

    /// Queues the refusals of requests that are left at the end. Their number is bounded by the
    /// queues of the services, and not by [`UNSENT_MAX`]. The leave of the socket sends them. Logs
    /// the one-way calls among the requests.
    pub(super) fn refuse_at_end(&self, unserved: Vec<Result<Delivery>>) {
        let mut one_way = 0;
        let refusals = unserved.into_iter().filter_map(|request| {
            let message = request.ok()?.message;
            let (Some(call), Some(peer)) = (message.id, message.reply_to) else {
                one_way += 1;
                return None;
            };
            Some((peer.as_bytes().clone(), self.refusal(call)?))
        });
        lock(&self.unsent).extend(refusals);
        lost_one_way_calls::log(one_way);
    }

    /// Replies that no responder here serves the service, unless the request is an error. The
    /// requester then tries another server. A one-way call gets no reply: it is lost, and logged.
    pub(super) fn refuse(&self, request: Result<Delivery>) {
        if !self.refuse_call(request)
            && let Some(count) = self.lost_one_way.note()
        {
            lost_one_way_calls::log(count);
        }
    }

    /// Refuses a request. Returns false for a one-way call, which gets no reply.
    fn refuse_call(&self, request: Result<Delivery>) -> bool {
        let Ok(Delivery { message, .. }) = request else { return true };
        let (Some(call), Some(peer)) = (message.id, message.reply_to) else { return false };
        self.send_refusal(&peer, call);
        true
    }

    /// Answers a leave that the socket has not sent, such as the question of a client: the socket
    /// serves on, with its bounds. Without room, the answer is queued like a refusal.
    pub(super) fn serve_on(&self, peer: &ReplyTo) {
        self.send_soon(peer.as_bytes().clone(), wire::serve_on(self.own_bounds));
    }

    /// Sends a refusal, without waiting for large replies before it. If the peer's queue in the
    /// engine is full, the refusal is queued for the task of the dispatcher.
    fn send_refusal(&self, peer: &ReplyTo, call: CallId) {
        if let Some(frames) = self.refusal(call) {
            self.send_soon(peer.as_bytes().clone(), frames);
        }
    }

    /// Encodes a refusal, which consists of the call id alone.
    fn refusal(&self, call: CallId) -> Option<Frames> {
        let mut refusal = Message::default();
        refusal.id = Some(call);
        wire::encode(&MessageRole::Refusal, refusal, &self.limits).ok()
    }

    /// Sends the reply of a request that no task handles any more, in the same way as a refusal.
    /// A reply that cannot be encoded is dropped, and its call ends by its deadline.
    pub(super) fn reply_soon(&self, message: impl BorrowMut<Message>) {
        let reply: &Message = message.borrow();
        let Some(peer) = reply.reply_to.as_ref().map(|peer| peer.as_bytes().clone()) else {
            return;
        };
        if let Ok(frames) = wire::encode(&MessageRole::Reply, message, &self.limits) {
            self.send_soon(peer, frames);
        }
    }

    /// Sends a small message at once, or queues it for the task of the dispatcher. A message to a
    /// peer that is gone is dropped.
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
                let _ = self.slow_callers.send(&*self.router, peer, frames).await;
                lock(&self.unsent).pop_front();
            }
        }
    }

    /// Takes the queued refusals.
    pub(super) fn take_unsent_refusals(&self) -> VecDeque<(Bytes, Frames)> {
        std::mem::take(&mut *lock(&self.unsent))
    }
}
