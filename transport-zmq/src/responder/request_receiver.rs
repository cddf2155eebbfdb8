//! Receiving half of a responder: requests of one service, and the calls that their callers
//! abandon.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use futures_core::Stream;
use polywire_core::health::{EndpointReporter, EndpointRole};
use polywire_core::transport::{Abandoned, Delivery, Inbound};
use polywire_core::{Address, Message, Result, Window};

use super::canary_sender::ResponderProbe;
use super::declined_requests::DeclinableDelivery;
use super::dispatcher::Dispatcher;
use super::queue_consumer::IdleFlag;
use super::server_socket::ServerSocket;
use super::service_queue::{ServiceQueue, TakenRequest};
use super::services::AddedConsumer;
use crate::wire;

/// A receiver of requests: one consumer of the queue of a service.
///
/// A request that cannot be decoded is yielded as a delivery with a fault, for which core sends the
/// fault as the reply. After [`stop`](Inbound::stop), the stream still yields requests that no
/// other consumer would take. It ends when the transport is closed.
///
/// Dropping the receiver removes the consumer. Queued requests of a service without another
/// consumer are then refused, and their requesters may try the next server.
pub(super) struct RequestReceiver {
    /// The server socket, kept open.
    socket: Arc<ServerSocket>,
    /// The service, to recognize its requests while the consumer reads the socket.
    service: Address,
    /// The queue of the service.
    queue: Arc<ServiceQueue>,
    /// The number of the consumer, unique within the server socket.
    consumer: u64,
    /// Set while the queue has nothing for the consumer, and wakes `waker` with the next change.
    is_idle: Arc<IdleFlag>,
    /// The task that polled the queue last.
    waker: Waker,
    /// Set by the first poll. Until then the socket is not read for this consumer: requests stay
    /// in the socket until they can be handed over.
    has_begun: bool,
    /// Health of the responder.
    health: Arc<EndpointReporter>,
}

impl RequestReceiver {
    /// Adds a consumer to the queue of a service, whose bound grows by the window. The responder
    /// is reported as consuming while the socket has bound an endpoint or has a peer.
    pub(super) fn open(socket: Arc<ServerSocket>, service: &Address, window: Window) -> Self {
        let AddedConsumer { queue, consumer, is_idle } =
            socket.dispatcher().add_consumer(service, window);
        socket.canaries().add_consumer(consumer);
        let probe = Arc::new(ResponderProbe::new(&socket, service, consumer));
        let health = socket.bound().add_handle(EndpointRole::Responder, service, probe);
        let service = service.clone();
        let waker = Waker::noop().clone();
        Self { socket, service, queue, consumer, is_idle, waker, has_begun: false, health }
    }

    /// The dispatcher of the socket.
    fn dispatcher(&self) -> &Arc<Dispatcher> {
        self.socket.dispatcher()
    }

    /// Answers a canary with the number of the consumer. Passes the canary of another consumer to
    /// that one, too.
    fn take_canary(&self, canary: &Message) {
        let text = canary.body.as_slice().and_then(|body| std::str::from_utf8(body).ok());
        let sender = text.and_then(|text| text.parse().ok()).filter(|it| *it != self.consumer);
        if let Some(sender) = sender
            && self.socket.canaries().pass(sender, canary.clone())
        {
            self.queue.wake_consumers();
        }
        self.answer_canary(canary);
    }

    /// Replies to a canary with the number of this consumer as the body.
    fn answer_canary(&self, canary: &Message) {
        let answer = Message::new(self.consumer.to_string());
        let answer = answer.with_id(canary.id).with_reply_to(canary.reply_to.clone());
        self.dispatcher().replies().reply_soon(answer);
    }

    /// Returns the next request, or a canary: from the queue, or from the socket if the queue has
    /// none. `None` means that the transport is closed.
    ///
    /// The queue of a sole consumer stays empty unless its window is full, and is not locked then.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery>>> {
        if !self.is_idle(cx) {
            self.waker.clone_from(cx.waker());
            if let Poll::Ready(taken) = self.queue.poll_take(self.consumer, cx) {
                return Poll::Ready(taken.map(|taken| self.declinable(taken)));
            }
        }
        self.dispatcher().poll_read(self.consumer, &self.service, cx)
    }

    /// Returns whether the queue has neither a request nor an abandoned call for the consumer, and
    /// wakes this task with the next change.
    fn is_idle(&self, cx: &Context<'_>) -> bool {
        self.is_idle.is_set() && self.waker.will_wake(cx.waker())
    }

    /// Makes a request declinable, if there are other consumers in this process. A single consumer
    /// pays no copy.
    fn declinable(&self, TakenRequest { request, tried }: TakenRequest) -> Result<Delivery> {
        match (request, tried) {
            (Ok(delivery), Some(tried)) => {
                let (dispatcher, queue) = (self.dispatcher().clone(), self.queue.clone());
                Ok(DeclinableDelivery::wrap(delivery, dispatcher, queue, tried))
            }
            (request, _) => request,
        }
    }
}

impl Stream for RequestReceiver {
    type Item = Result<Delivery>;

    /// Returns a queued request, or reads the socket if this is the sole consumer. A request that
    /// is read from the socket passes no queue and no other task.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.has_begun {
            self.has_begun = true;
            self.dispatcher().begin_consuming(self.consumer);
        }
        loop {
            let next = self.poll_request(cx);
            // After the waker is registered, so that no canary is missed.
            if let Some(canary) = self.socket.canaries().take(self.consumer) {
                self.answer_canary(&canary);
            }
            match ready!(next) {
                Some(Ok(delivery)) if wire::is_canary(&delivery.message) => {
                    self.take_canary(&delivery.message);
                }
                Some(Ok(delivery)) => {
                    self.health.count_received();
                    return Poll::Ready(Some(Ok(delivery)));
                }
                end => {
                    if end.is_none() {
                        self.health.set_consuming(false);
                    }
                    return Poll::Ready(end);
                }
            }
        }
    }
}

impl Inbound for RequestReceiver {
    /// Stops the consumer. The stream goes on with requests that no other consumer would take, so
    /// that core can refuse them.
    fn stop(self: Pin<&mut Self>) {
        self.health.end();
        self.queue.stop(self.consumer);
    }

    fn health(&self) -> Option<EndpointReporter> {
        Some((*self.health).clone())
    }

    /// Returns an abandoned call.
    fn poll_abandoned(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        if self.is_idle(cx) {
            return Poll::Pending;
        }
        self.queue.take_abandoned(self.consumer, cx).map_or(Poll::Pending, Poll::Ready)
    }

    /// Reads requests of a sole consumer into its queue while its window is full, so that it learns
    /// of abandoned calls.
    fn poll_read_ahead(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.has_begun {
            return Poll::Pending;
        }
        self.dispatcher().poll_read_ahead(self.consumer, &self.queue, cx);
        if self.queue.has_abandoned(self.consumer) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for RequestReceiver {
    fn drop(&mut self) {
        self.health.end();
        self.socket.canaries().remove_consumer(self.consumer);
        self.dispatcher().remove_consumer(&self.service, &self.queue, self.consumer);
    }
}
