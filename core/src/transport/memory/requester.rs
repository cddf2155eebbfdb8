//! Requester.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;

use super::broker::MemoryBroker;
use super::open_handles::{ManagedHandle, closed};
use super::queue::Queue;
use super::reply_address;
use super::reply_queue::ReplyQueue;
use crate::error::Result;
use crate::message::{Address, CallId, Limits, Message, ReplyTo};
use crate::transport::{
    Abandoned, Answer, Asked, Delivery, Inbound, Outbound, Question, Receiver, ReplySink, Sender,
    Sending, ServerAddress, ServerNotice,
};

/// Opens a requester of `service`, with a reply queue of its own.
pub(super) fn open(
    broker: &Arc<MemoryBroker>,
    limits: Limits,
    service: &Address,
) -> (Weak<dyn ManagedHandle>, Sender, Receiver) {
    let (broker, id) = (broker.clone(), broker.next_id());
    let (replies, queue) = (broker.add_reply_queue(id), broker.service_queue(service));
    let reply_to = reply_address::encode(id);
    let registration =
        Arc::new(ReplyQueueRegistration { broker, id, reply_to, closed: AtomicBool::new(false) });
    let handle: Arc<dyn ManagedHandle> = registration.clone();
    let sender = Sender::new(RequestSender { queue, registration: registration.clone(), limits });
    let receiver = Receiver::new(ReplyReceiver { replies, _registration: registration });
    (Arc::downgrade(&handle), sender, receiver)
}

/// Registration of a requester's reply queue, which both halves keep alive. The drop removes the
/// queue.
struct ReplyQueueRegistration {
    broker: Arc<MemoryBroker>,
    id: u64,
    /// The encoded id, which all requests share.
    reply_to: ReplyTo,
    closed: AtomicBool,
}

impl ManagedHandle for ReplyQueueRegistration {
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.broker.remove_reply_queue(self.id);
    }
}

impl Drop for ReplyQueueRegistration {
    fn drop(&mut self) {
        self.close();
    }
}

struct RequestSender {
    queue: Arc<Queue>,
    registration: Arc<ReplyQueueRegistration>,
    limits: Limits,
}

impl RequestSender {
    /// Ends a call early. A closed sender sends nothing any more, cancellations included.
    fn end(&self, call: CallId, is_expired: bool) {
        if !self.registration.closed.load(Ordering::Acquire) {
            let reply_to = self.registration.reply_to.clone();
            self.queue.abandon(&Abandoned::new(reply_to, call).with_expired(is_expired));
        }
    }
}

impl Outbound for RequestSender {
    fn send(&self, message: Message) -> Sending<'_> {
        self.send_boxed(Box::new(message))
    }

    fn send_boxed(&self, mut message: Box<Message>) -> Sending<'_> {
        if self.registration.closed.load(Ordering::Acquire) {
            return Sending::ready(Err(closed()));
        }
        if let Err(error) = self.limits.check(&message) {
            return Sending::ready(Err(error));
        }
        // This transport verifies no peer.
        message.peer = None;
        // A request without an id is one-way and gets no reply.
        message.reply_to = message.id.map(|_| self.registration.reply_to.clone());
        match self.queue.try_push(message) {
            Ok(result) => Sending::ready(result),
            Err(message) => Sending::later(self.queue.push(message)),
        }
    }

    fn abandon(&self, call: CallId) {
        self.end(call, false);
    }

    fn expire(&self, call: CallId) {
        self.end(call, true);
    }

    fn answer(&self, asked: &Asked, is_permitted: bool) {
        let Some(consumer) = reply_address::number(asked.server.as_bytes()) else { return };
        let reply_to = self.registration.reply_to.clone();
        let question = Question::new(reply_to, asked.id, asked.delivery);
        self.queue.answer(consumer, Answer::new(question, is_permitted));
    }

    fn check(&self, server: &ServerAddress) {
        let consumer = reply_address::number(server.as_bytes());
        if consumer.is_none_or(|consumer| !self.queue.is_open(consumer)) {
            let notice = ServerNotice::Gone(server.clone());
            // A requester that is closed needs no notice.
            let _ = self.registration.broker.notify(Some(self.registration.id), notice);
        }
    }
}

struct ReplyReceiver {
    replies: Arc<ReplyQueue>,
    _registration: Arc<ReplyQueueRegistration>,
}

impl Stream for ReplyReceiver {
    type Item = Result<Delivery>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.replies.poll_next(cx)
    }
}

impl Inbound for ReplyReceiver {
    fn stop(self: Pin<&mut Self>) {
        self.replies.close();
    }

    fn deliver_to(self: Pin<&mut Self>, sink: ReplySink) -> bool {
        self.replies.deliver_to(sink);
        true
    }

    fn poll_notice(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ServerNotice> {
        self.replies.poll_notice(cx)
    }
}

impl Drop for ReplyReceiver {
    fn drop(&mut self) {
        self.replies.leave();
    }
}
