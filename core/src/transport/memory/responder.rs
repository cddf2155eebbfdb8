//! The serving end.

use std::sync::{Arc, Weak};

use super::consumer::{self, OrphanHandler};
use super::pipeline::Open;
use super::queue::Queue;
use super::{End, Memory, MemoryBroker, requester};
use crate::message::{Address, Limits, Message};
use crate::transport::{Outbound, Receiver, Sender, Sending, Window};

pub(super) fn open(
    memory: &Memory,
    service: &Address,
    window: Window,
) -> ([Weak<dyn End>; 2], Sender, Receiver) {
    let hub = memory.hub.clone();
    let (seat, requests) = consumer::take(hub.queue(service), hub.fresh_id(), window, hub.clone());
    let open = Arc::new(Open::default());
    let replying: Arc<dyn End> = open.clone();
    let replies = Replies { hub, limits: memory.limits, open };
    ([seat, Arc::downgrade(&replying)], Sender::new(replies), requests)
}

/// The callers of requests that no server is left to take are told so.
impl OrphanHandler for MemoryBroker {
    fn left(&self, _: &Arc<Queue>, orphans: Vec<Message>) {
        self.fail(orphans);
    }
}

struct Replies {
    hub: Arc<MemoryBroker>,
    limits: Limits,
    open: Arc<Open>,
}

impl Outbound for Replies {
    fn send(&self, message: Message) -> Sending<'_> {
        let sent = self.open.check(&message, &self.limits).and_then(|()| {
            let mailbox = requester::mailbox_of(&message);
            self.hub.post(mailbox, Ok(message))
        });
        Sending::ready(sent)
    }
}
