//! Dispatch of received requests to the queues of their services.
//!
//! The socket is read at one place, [`Dispatcher::poll_requests`], by one reader at a time:
//!
//! - If there are several consumers, or none has begun, the task of the dispatcher reads. It waits
//!   for room in the queue of each request, so a full queue holds up the other services.
//!
//! - A sole consumer reads the socket itself, in its own task. Passing a request from task to task
//!   costs more than all other work on it, and most server sockets have one service.
//!
//! - While the window of a sole consumer is full, it reads ahead into its queue, so that
//!   cancellations are not stuck behind requests. The bound of the queue also bounds the reading.
//!
//! Whenever consumers come, begin or go, the reader is chosen anew. The former reader may have
//! polled the stream last, and be woken in place of the new one. So the new reader is always woken
//! once, and then polls.

mod reader_choice;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::task::AtomicWaker;
use futures_util::{StreamExt, stream};
use polywire_core::message::ReplyTo;
use polywire_core::transport::{Abandoned, Delivery, LogThrottle, WaitingTimes};
use polywire_core::{Address, Limits, Result};

use super::count_guard::CountGuard;
use super::leave::take_leave;
use super::reply_router::ReplyRouter;
use super::service_queue::ServiceQueue;
use super::service_request::{ServiceRequest, undecodable};
use super::services::Services;
use crate::config::Settings;
use crate::engine::{RequestOrigin, Router, SocketControl};
use crate::lock::lock;
use crate::wire::{self, DecodeFailure, Frames, MessageRole};

/// The reader of a server socket.
pub(super) struct Dispatcher {
    /// The way back, which shares the socket.
    replies: ReplyRouter,
    /// Limits on requests.
    limits: Limits,
    /// Estimates of the time that requests waited before.
    waiting_times: WaitingTimes,
    /// The queues of all services. Locked once for each request that the task dispatches.
    services: Mutex<Services>,
    /// Set once, under the lock of `services`, before the queues are closed.
    closed: AtomicBool,
    /// Set with the first consumer. Until then, no request is read: it would be refused, although
    /// its service is being bound.
    is_serving: AtomicBool,
    /// The consumers that are reading the socket, or dispatching or refusing what they have read.
    reading: AtomicUsize,
    /// Set when the socket has taken leave of its peers. Replies fail from then on.
    has_left: AtomicBool,
    /// The messages of the socket. Empty after the dispatcher is closed.
    requests: Mutex<BoxStream<'static, (RequestOrigin, Frames)>>,
    /// The number of the sole consumer, which reads the socket itself. 0 if the task reads.
    reader: AtomicU64,
    /// Wakes the task when it may have become the reader.
    task: AtomicWaker,
    /// Throttle for log lines of messages that cannot be read.
    rejections: LogThrottle,
}

impl Dispatcher {
    /// Creates the dispatcher of an open socket. [`run`](Self::run) follows.
    pub(super) fn new(router: Arc<dyn Router>, settings: &Settings) -> Self {
        let replies = ReplyRouter::new(router, settings);
        Self {
            requests: Mutex::new(replies.requests()),
            replies,
            limits: settings.limits,
            waiting_times: WaitingTimes::new(),
            services: Mutex::default(),
            closed: AtomicBool::new(false),
            is_serving: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
            reading: AtomicUsize::new(0),
            reader: AtomicU64::new(0),
            task: AtomicWaker::new(),
            rejections: LogThrottle::new(),
        }
    }

    /// The socket, for endpoint changes.
    pub(super) fn socket(&self) -> &dyn SocketControl {
        self.replies.socket()
    }

    /// Dispatches requests until the dispatcher is [closed](Self::close). Then takes leave of the
    /// callers, for up to the linger time, and closes the socket. Pending while a sole consumer
    /// reads. If the future is dropped, requests that wait are dropped with it.
    pub(super) async fn run(self: Arc<Self>, linger: Duration) {
        let dispatching = async {
            while let Some((origin, frames)) = poll_fn(|cx| self.poll_task(cx)).await {
                if let Some(request) = self.process(origin, frames) {
                    self.dispatch(request).await;
                }
            }
        };
        let leaving = async {
            tokio::select! {
                () = dispatching => {}
                () = self.replies.send_unsent_refusals() => {}
            }
            self.leave(linger).await;
        };
        tokio::select! {
            () = leaving => {}
            () = self.replies.send_batches() => {}
        }
        if let Some((peer, replies)) = self.replies.send_last_batches() {
            tracing::warn!(?peer, replies, "closed without room for replies that count as sent");
        }
        self.replies.socket().close().await;
    }

    /// Takes leave of the callers. Replies fail from then on.
    async fn leave(&self, linger: Duration) {
        let mut requests = std::mem::replace(&mut *lock(&self.requests), stream::empty().boxed());
        // A consumer may still dispatch what it has read.
        while self.reading.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
        let unsent = self.replies.take_unsent_refusals();
        take_leave(self.replies.router(), &mut requests, unsent, linger).await;
        self.has_left.store(true, Ordering::Release);
        // The stream of requests is dropped: some engines do not close a socket that is still read.
    }

    /// Returns the next message for the task, or `None` if the dispatcher is closed.
    fn poll_task(&self, cx: &mut Context<'_>) -> Poll<Option<(RequestOrigin, Frames)>> {
        self.task.register(cx.waker());
        match self.is_closed() {
            true => Poll::Ready(None),
            false if !self.is_serving.load(Ordering::Acquire) => Poll::Pending,
            false => self.poll_requests(0, cx),
        }
    }

    /// Returns the next request for a sole consumer. Pending if there are other consumers; then the
    /// consumer is woken through its queue.
    ///
    /// Requests of other services go to their queue or are refused. `None` means that the socket is
    /// closed.
    pub(super) fn poll_read(
        &self,
        consumer: u64,
        service: &Address,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Delivery>>> {
        let _reading = CountGuard::new(&self.reading);
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

    /// Reads on while the window of a sole consumer is full, so that cancellations arrive. Stops at
    /// the bound of the queue.
    pub(super) fn poll_read_ahead(
        &self,
        consumer: u64,
        queue: &ServiceQueue,
        cx: &mut Context<'_>,
    ) {
        let _reading = CountGuard::new(&self.reading);
        // Reported before more is read: a consumer keeps a bounded number of abandoned calls.
        while queue.has_room() && !queue.has_abandoned(consumer) {
            let Poll::Ready(Some((origin, frames))) = self.poll_requests(consumer, cx) else {
                return;
            };
            if let Some(request) = self.process(origin, frames) {
                self.dispatch_now(request);
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

    /// Decodes a message. Returns a request; processes cancels and messages that name no service.
    ///
    /// All other messages are dropped with a line in the log at level debug.
    fn process(
        &self,
        RequestOrigin { address, identity }: RequestOrigin,
        frames: Frames,
    ) -> Option<ServiceRequest> {
        let (peer, sent) = (ReplyTo::new(address), wire::sent_at(&frames));
        match wire::decode(frames, &self.limits) {
            Ok((MessageRole::Request(service), mut message)) => {
                self.waiting_times.shorten(&mut message, sent);
                message.reply_to = message.id.map(|_| peer);
                message.peer = identity;
                Some(ServiceRequest { service, request: Ok(Delivery::settled(message)) })
            }
            Ok((role, message)) => {
                match (role, message.id) {
                    (MessageRole::Cancel(service), Some(call)) => {
                        let queue = lock(&self.services).queue(&service);
                        if let Some(queue) = queue {
                            let abandoned = Abandoned::new(peer, call);
                            queue.abandon(&abandoned.with_expired(message.deadline.is_some()));
                        }
                    }
                    // The answer to a server that was here before, or the question of a new client.
                    (MessageRole::Leave, Some(_)) => self.replies.serve_on(&peer),
                    (role, _) => {
                        tracing::debug!(?peer, ?role, "dropped a message that is not a request");
                    }
                }
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

    /// Adds a request to the queue of its service, after waiting for room, or refuses it. Until
    /// then no other message is read. If the future is dropped, the request is dropped with it.
    async fn dispatch(&self, ServiceRequest { service, request }: ServiceRequest) {
        let queue = lock(&self.services).queue(&service);
        let unserved = match queue {
            Some(queue) => queue.push(request).await.err(),
            None => Some(request),
        };
        if let Some(request) = unserved {
            self.replies.refuse(request);
        }
    }

    /// Adds a request to the queue of its service even beyond its bound, or refuses it. For a
    /// reader that cannot wait; see [`ServiceQueue::push_beyond`] for the bound.
    fn dispatch_now(&self, ServiceRequest { service, request }: ServiceRequest) {
        let queue = lock(&self.services).queue(&service);
        let unserved = match queue {
            Some(queue) => queue.push_beyond(request).err(),
            None => Some(request),
        };
        if let Some(request) = unserved {
            self.replies.refuse(request);
        }
    }

    /// Replies to a request that cannot be decoded and names no service, or logs it, throttled.
    fn reject(&self, peer: ReplyTo, request: Result<Delivery>) {
        match request {
            Ok(Delivery { mut message, .. }) => {
                message.reply_to = Some(peer);
                self.replies.reply_soon(message);
            }
            Err(error) => {
                if let Some(count) = self.rejections.note() {
                    tracing::warn!(?error, ?peer, count, "rejected requests that cannot be read");
                }
            }
        }
    }

    /// The way back, for the senders of replies.
    pub(super) fn replies(&self) -> &ReplyRouter {
        &self.replies
    }

    /// Closes all queues, and refuses queued requests. Then [`run`](Self::run) ends.
    pub(super) fn close(&self) {
        let mut services = lock(&self.services);
        // Queued before the task learns of the end, so that it sends all of them.
        for queue in services.take_queues() {
            self.replies.refuse_at_end(queue.close());
        }
        // Under the lock, so that no consumer is added to an open queue after this.
        self.closed.store(true, Ordering::Release);
        self.choose_reader(&services);
    }

    /// Returns whether the socket has taken leave. Replies fail then.
    pub(super) fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Acquire)
    }

    /// Returns whether the dispatcher is closed.
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
