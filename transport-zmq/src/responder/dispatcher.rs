//! Dispatch of received requests to the queues of their services, and the path of replies.
//!
//! The socket is read at one place, [`Dispatcher::poll_requests`], by one reader at a time. The
//! reader is the dispatcher's own task if there are several consumers. A sole consumer reads the
//! socket itself: passing a request from task to task costs more than all other work on it, and
//! most server sockets have one service. While its window is full, it reads ahead, so that
//! cancellations are not stuck behind requests.

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::task::AtomicWaker;
use futures_util::{StreamExt, stream};
use polywire_core::message::{CallId, ReplyTo};
use polywire_core::transport::{Abandoned, Delivery, LogThrottle, Sending};
use polywire_core::{Address, Limits, Message, Result, Window};

use super::request::{ServiceRequest, undecodable};
use super::service_queue::ServiceQueue;
use super::services::Services;
use super::slow_peers::SlowPeers;
use crate::engine::{RequestOrigin, Router, SocketControl};
use crate::error::{caller_gone, lock};
use crate::wire::{self, DecodeFailure, Frames, Role};

/// The requests and replies of a server socket.
pub(super) struct Dispatcher {
    router: Arc<dyn Router>,
    limits: Limits,
    slow_peers: SlowPeers,
    services: Mutex<Services>,
    closed: AtomicBool,
    requests: Mutex<BoxStream<'static, (RequestOrigin, Frames)>>,
    /// The sole consumer, which reads the socket itself. 0 if the task reads.
    reader: AtomicU64,
    /// Wakes the task when it may have become the reader.
    task: AtomicWaker,
    rejections: LogThrottle,
}

impl Dispatcher {
    pub(super) fn new(router: Arc<dyn Router>, limits: Limits) -> Self {
        Self {
            requests: Mutex::new(router.requests()),
            router,
            limits,
            slow_peers: SlowPeers::default(),
            services: Mutex::default(),
            closed: AtomicBool::new(false),
            reader: AtomicU64::new(0),
            task: AtomicWaker::new(),
            rejections: LogThrottle::new(),
        }
    }

    /// The socket, for endpoint changes.
    pub(super) fn socket(&self) -> &dyn SocketControl {
        &*self.router
    }

    /// Dispatches requests until the socket is closed. Waits while a sole consumer reads.
    pub(super) async fn run(self: Arc<Self>) {
        while let Some((origin, frames)) = poll_fn(|cx| self.poll_task(cx)).await {
            if let Some(request) = self.process(origin, frames) {
                self.dispatch(request).await;
            }
        }
    }

    fn poll_task(&self, cx: &mut Context<'_>) -> Poll<Option<(RequestOrigin, Frames)>> {
        self.task.register(cx.waker());
        self.poll_requests(0, cx)
    }

    /// Returns the next request for a sole consumer. Pending if there are other consumers.
    pub(super) fn poll_read(
        &self,
        consumer: u64,
        service: &Address,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Delivery>>> {
        loop {
            let Some((origin, frames)) = ready!(self.poll_requests(consumer, cx)) else {
                return Poll::Ready(None);
            };
            match self.process(origin, frames) {
                Some(request) if request.service == *service => {
                    return Poll::Ready(Some(request.request));
                }
                Some(other) => self.dispatch_now(other),
                None => {}
            }
        }
    }

    /// Reads on while the window of a sole consumer is full, so that cancellations arrive.
    ///
    /// If the queue was empty, stops after the first request of the consumer's own service, which
    /// the consumer takes next.
    pub(super) fn poll_read_ahead(
        &self,
        consumer: u64,
        service: &Address,
        queue: &ServiceQueue,
        cx: &mut Context<'_>,
    ) {
        let was_empty = queue.is_empty();
        while queue.has_room() {
            let Poll::Ready(Some((origin, frames))) = self.poll_requests(consumer, cx) else {
                return;
            };
            let Some(request) = self.process(origin, frames) else { continue };
            let is_own = request.service == *service;
            self.dispatch_now(request);
            if is_own && was_empty {
                // The queue wakes the consumer, which then reads on.
                return;
            }
        }
    }

    /// Returns the next message for the current reader. Pending for all others.
    fn poll_requests(
        &self,
        reader: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(RequestOrigin, Frames)>> {
        let mut requests = lock(&self.requests);
        // Checked under the lock: the stream wakes the task that polled it last, which must be the
        // current reader.
        match self.reader.load(Ordering::Acquire) == reader {
            true => requests.poll_next_unpin(cx),
            false => Poll::Pending,
        }
    }

    /// Decodes a message. Returns a request; cancellations and messages that name no service are
    /// processed here.
    fn process(
        &self,
        RequestOrigin { address, identity }: RequestOrigin,
        frames: Frames,
    ) -> Option<ServiceRequest> {
        let peer = ReplyTo::new(address);
        match wire::decode(frames, &self.limits) {
            Ok((Role::Request(service), mut message)) => {
                message.reply_to = message.id.map(|_| peer);
                message.peer = identity;
                Some(ServiceRequest { service, request: Ok(Delivery::settled(message)) })
            }
            Ok((Role::Cancel(service), Message { id: Some(call), .. })) => {
                let queue = lock(&self.services).queue(&service);
                if let Some(queue) = queue {
                    queue.abandon(&Abandoned::new(peer, call));
                }
                None
            }
            Ok((role, _)) => {
                tracing::debug!(?peer, ?role, "dropped a message that is not a request");
                None
            }
            Err(DecodeFailure { service, call, error }) => {
                let request = undecodable(call, &peer, error);
                let Some(service) = service else {
                    self.reject(peer, request);
                    return None;
                };
                Some(ServiceRequest { service, request })
            }
        }
    }

    /// Adds a request to the queue of its service, after waiting for room, or refuses it.
    async fn dispatch(&self, ServiceRequest { service, request }: ServiceRequest) {
        let queue = lock(&self.services).queue(&service);
        let unserved = match queue {
            Some(queue) => queue.push(request).await.err(),
            None => Some(request),
        };
        if let Some(request) = unserved {
            self.refuse_request(request);
        }
    }

    /// Adds a request to the queue of its service even beyond its bound, or refuses it.
    fn dispatch_now(&self, ServiceRequest { service, request }: ServiceRequest) {
        let queue = lock(&self.services).queue(&service);
        let unserved = match queue {
            Some(queue) => queue.push_beyond(request).err(),
            None => Some(request),
        };
        if let Some(request) = unserved {
            self.refuse_request(request);
        }
    }

    /// Replies to a request that cannot be decoded and names no service.
    fn reject(&self, peer: ReplyTo, request: Result<Delivery>) {
        match request {
            Ok(Delivery { mut message, .. }) => {
                message.reply_to = Some(peer);
                // Not awaited, as with a refusal.
                drop(self.reply(message));
            }
            Err(error) => {
                if let Some(count) = self.rejections.note() {
                    tracing::warn!(?error, ?peer, count, "rejected requests that cannot be read");
                }
            }
        }
    }

    fn refuse_all(&self, unserved: Vec<Result<Delivery>>) {
        for request in unserved {
            self.refuse_request(request);
        }
    }

    fn refuse_request(&self, request: Result<Delivery>) {
        let Ok(Delivery { message, .. }) = request else { return };
        if let (Some(call), Some(peer)) = (message.id, message.reply_to) {
            self.refuse(&peer, call);
        }
    }

    /// Replies that no responder here serves the service.
    ///
    /// A refusal does not wait for large replies before it. It is dropped if the peer's queue in
    /// the engine is full, since no task waits for room here; then the call times out.
    fn refuse(&self, peer: &ReplyTo, call: CallId) {
        let mut refusal = Message::default();
        refusal.id = Some(call);
        if let Ok(frames) = wire::encode(&Role::Refusal, refusal, &self.limits) {
            drop(self.router.send(peer.as_bytes().clone(), frames));
        }
    }

    /// Sends a reply, after waiting for room if the caller is not [slow](SlowPeers).
    ///
    /// # Errors
    ///
    /// `Unroutable` if the caller is gone or does not read its replies, and `TooLarge` if the reply
    /// exceeds the limits.
    pub(super) fn reply(&self, message: Message) -> Sending<'_> {
        let Some(peer) = message.reply_to.as_ref().map(|peer| peer.as_bytes().clone()) else {
            return Sending::ready(Err(caller_gone()));
        };
        let checked = self.limits.check(&message);
        match checked.and_then(|()| wire::encode(&Role::Reply, message, &self.limits)) {
            Ok(frames) => self.slow_peers.send(&*self.router, peer, frames),
            Err(error) => Sending::ready(Err(error)),
        }
    }

    /// Adds a consumer to the queue of a service. The queue is closed if the dispatcher is.
    pub(super) fn add_consumer(
        &self,
        service: &Address,
        window: Window,
    ) -> (Arc<ServiceQueue>, u64) {
        // Under the lock, so that no removal of the last consumer removes the queue in between.
        let mut services = lock(&self.services);
        let added = services.add_consumer(service, window, self.is_closed());
        self.choose_reader(&services);
        added
    }

    /// Removes a consumer. If it was the last one of its queue, refuses the queued requests.
    pub(super) fn remove_consumer(&self, service: &Address, queue: &ServiceQueue, consumer: u64) {
        let unserved = {
            let mut services = lock(&self.services);
            let unserved = services.remove_consumer(service, queue, consumer);
            self.choose_reader(&services);
            unserved
        };
        self.refuse_all(unserved);
    }

    /// Records that a consumer has begun to take requests.
    pub(super) fn begin_consuming(&self, consumer: u64) {
        let mut services = lock(&self.services);
        services.begin_consuming(consumer);
        self.choose_reader(&services);
    }

    /// Makes the sole consumer the reader, or the task, and wakes all that may be it.
    fn choose_reader(&self, services: &Services) {
        self.reader.store(services.sole_consumer().unwrap_or(0), Ordering::Release);
        self.task.wake();
        for queue in services.queues() {
            queue.wake_consumers();
        }
    }

    /// Closes all queues and the socket. The future resolves when the socket has lingered.
    pub(super) fn close(&self) -> BoxFuture<'static, ()> {
        let queues = {
            let mut services = lock(&self.services);
            // Under the lock, so that no consumer is added to an open queue after this.
            self.closed.store(true, Ordering::Release);
            services.take_queues()
        };
        for queue in queues {
            self.refuse_all(queue.close());
        }
        // Some engines do not close a socket that is still read.
        *lock(&self.requests) = stream::empty().boxed();
        self.router.close()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
