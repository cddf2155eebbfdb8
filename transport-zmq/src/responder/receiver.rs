//! Receiving half of a responder.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use polywire_core::transport::{Abandoned, Delivery, Inbound};
use polywire_core::{Address, Result, Window};

use super::decline::DeclinableDelivery;
use super::dispatcher::Dispatcher;
use super::server_socket::ServerSocket;
use super::service_queue::{ServiceQueue, TakenRequest};

/// A receiver of requests: one consumer of the queue of a service.
pub(super) struct RequestReceiver {
    socket: Arc<ServerSocket>,
    service: Address,
    queue: Arc<ServiceQueue>,
    consumer: u64,
    has_begun: bool,
}

impl RequestReceiver {
    /// Adds a consumer to the queue of a service.
    pub(super) fn open(socket: Arc<ServerSocket>, service: &Address, window: Window) -> Self {
        let (queue, consumer) = socket.dispatcher().add_consumer(service, window);
        let service = service.clone();
        Self { socket, service, queue, consumer, has_begun: false }
    }

    fn dispatcher(&self) -> &Arc<Dispatcher> {
        self.socket.dispatcher()
    }

    /// Makes a request declinable, if there are other consumers in this process.
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

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.has_begun {
            self.has_begun = true;
            self.dispatcher().begin_consuming(self.consumer);
        }
        match self.queue.poll_take(self.consumer, cx) {
            Poll::Pending => self.dispatcher().poll_read(self.consumer, &self.service, cx),
            Poll::Ready(taken) => Poll::Ready(taken.map(|taken| self.declinable(taken))),
        }
    }
}

impl Inbound for RequestReceiver {
    fn stop(self: Pin<&mut Self>) {
        self.queue.stop(self.consumer);
    }

    fn poll_abandoned(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        loop {
            if let Some(call) = self.queue.take_abandoned(self.consumer, cx) {
                return Poll::Ready(call);
            }
            if !self.has_begun {
                return Poll::Pending;
            }
            self.dispatcher().poll_read_ahead(self.consumer, &self.service, &self.queue, cx);
            if !self.queue.has_abandoned(self.consumer) {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for RequestReceiver {
    fn drop(&mut self) {
        self.dispatcher().remove_consumer(&self.service, &self.queue, self.consumer);
    }
}
