//! Responder.

use std::sync::{Arc, Weak};

use super::broker::MemoryBroker;
use super::consumer::{self, OrphanHandler};
use super::open_handles::ManagedHandle;
use super::queue::Queue;
use super::reply_address;
use super::sender_close_signal::CloseSignal;
use crate::health::{EndpointRole, HealthReporter};
use crate::message::{Address, Limits, Message};
use crate::transport::{
    Answer, Asked, Outbound, Question, Receiver, Sender, Sending, ServerAddress, ServerNotice,
    Window,
};

/// Opens a responder of `service`: the consumer of its requests, and the sender of replies.
pub(super) fn open(
    broker: &Arc<MemoryBroker>,
    limits: Limits,
    (service, window): (&Address, Window),
    health: &HealthReporter,
) -> ([Weak<dyn ManagedHandle>; 2], Sender, Receiver) {
    let broker = broker.clone();
    let consumer = broker.next_id();
    let (queue, health) =
        (broker.service_queue(service), (health, EndpointRole::Responder, service));
    let (requests, receiver) =
        consumer::open(queue.clone(), (consumer, window), broker.clone(), health);
    let close_signal = Arc::new(CloseSignal::default());
    let replies: Arc<dyn ManagedHandle> = close_signal.clone();
    let sender = Sender::new(ReplySender { broker, limits, close_signal, queue, consumer });
    ([requests, Arc::downgrade(&replies)], sender, receiver)
}

/// Fails the clients of requests that have no server left.
impl OrphanHandler for MemoryBroker {
    fn handle(&self, _: &Arc<Queue>, orphans: Vec<Message>) {
        self.fail(orphans);
    }
}

struct ReplySender {
    broker: Arc<MemoryBroker>,
    limits: Limits,
    close_signal: Arc<CloseSignal>,
    /// Queue of the service, for the answer in place of a caller that is gone.
    queue: Arc<Queue>,
    /// Number of the consumer, which is the address of the server for its callers.
    consumer: u64,
}

impl Outbound for ReplySender {
    fn send(&self, message: Message) -> Sending<'_> {
        self.send_boxed(Box::new(message))
    }

    fn send_boxed(&self, message: Box<Message>) -> Sending<'_> {
        let sent = self.close_signal.check(&message, &self.limits).and_then(|()| {
            let reply_queue = reply_address::decode(&message);
            self.broker.reply(reply_queue, Ok(message))
        });
        Sending::ready(sent)
    }

    /// If the caller is gone, the answer is a denial.
    fn ask(&self, question: &Question) -> bool {
        let server = ServerAddress::new(reply_address::encode(self.consumer).as_bytes().clone());
        let asked = Asked::new(question.id, server, question.delivery);
        let reply_queue = reply_address::number(question.reply_to.as_bytes());
        if !self.broker.notify(reply_queue, ServerNotice::Asked(asked)) {
            self.queue.answer(self.consumer, Answer::new(question.clone(), false));
        }
        true
    }
}
