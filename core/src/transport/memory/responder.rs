//! Responder.

use std::sync::{Arc, Weak};

use super::broker::MemoryBroker;
use super::close_signal::CloseSignal;
use super::consumer::{self, OrphanHandler};
use super::open_endpoints::ManagedEndpoint;
use super::queue::Queue;
use super::reply_address;
use crate::message::{Address, Limits, Message};
use crate::transport::{Outbound, Receiver, Sender, Sending, Window};

/// Opens a responder of `service`: the consumer of its requests, and the sender of replies.
pub(super) fn open(
    broker: &Arc<MemoryBroker>,
    limits: Limits,
    service: &Address,
    window: Window,
) -> ([Weak<dyn ManagedEndpoint>; 2], Sender, Receiver) {
    let broker = broker.clone();
    let (requests, receiver) =
        consumer::open(broker.service_queue(service), broker.next_id(), window, broker.clone());
    let close_signal = Arc::new(CloseSignal::default());
    let replies: Arc<dyn ManagedEndpoint> = close_signal.clone();
    let sender = Sender::new(ReplySender { broker, limits, close_signal });
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
}

impl Outbound for ReplySender {
    fn send(&self, message: Message) -> Sending<'_> {
        let sent = self.close_signal.check(&message, &self.limits).and_then(|()| {
            let reply_queue = reply_address::decode(&message);
            self.broker.reply(reply_queue, Ok(message))
        });
        Sending::ready(sent)
    }
}
