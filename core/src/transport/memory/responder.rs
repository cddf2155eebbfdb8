//! The serving end.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;

use super::queue::{Queue, Taken};
use super::{End, Hub, Memory, requester};
use crate::transport::{
    Delivery, Inbound, Outbound, Outcome, Receipt, Receiver, Sender, Sending, Settle, Window,
};
use crate::{Address, Limits, Message, Result};

pub(super) fn open(memory: &Memory, service: &Address, window: Window) -> (Weak<dyn End>, Sender, Receiver) {
    let hub = memory.hub.clone();
    let seat = Arc::new(Seat { queue: hub.queue(service), id: hub.fresh_id(), hub: hub.clone() });
    seat.queue.join(seat.id, window.messages());
    let end: Arc<dyn End> = seat.clone();
    let replies = Replies { hub, limits: memory.limits };
    (Arc::downgrade(&end), Sender::new(replies), Receiver::new(Requests { seat }))
}

/// A responder's place at its queue, which receipts keep alive.
struct Seat {
    hub: Arc<Hub>,
    queue: Arc<Queue>,
    id: u64,
}

impl End for Seat {
    fn close(&self) {
        self.hub.fail(self.queue.leave(self.id));
    }
}

impl Settle for Seat {
    fn settle(&self, tag: u64, outcome: Outcome) {
        self.hub.fail(self.queue.settle(self.id, tag, outcome));
    }
}

struct Requests {
    seat: Arc<Seat>,
}

impl Stream for Requests {
    type Item = Result<Delivery>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.seat.queue.poll_take(self.seat.id, cx).map(|taken| {
            let Taken { tag, message, redelivered } = taken?;
            let receipt = Receipt::new(self.seat.clone(), tag);
            Some(Ok(Delivery::new(message, receipt).redelivered(redelivered)))
        })
    }
}

impl Inbound for Requests {
    fn stop(self: Pin<&mut Self>) {
        self.seat.hub.fail(self.seat.queue.stop(self.seat.id));
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        Pin::new(self).stop();
    }
}

struct Replies {
    hub: Arc<Hub>,
    limits: Limits,
}

impl Outbound for Replies {
    fn send(&self, message: Message) -> Sending<'_> {
        let sent = self.limits.check(&message).and_then(|()| {
            let mailbox = requester::mailbox_of(&message);
            self.hub.post(mailbox, Ok(message))
        });
        Sending::ready(sent)
    }
}
