//! The taking half of every end: a seat at a queue.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;

use super::End;
use super::queue::{Queue, Taken};
use crate::transport::{Abandoned, Delivery, Inbound, Outcome, Receipt, Receiver, Settle, Window};
use crate::{Message, Result};

/// What is to be done when somebody takes no more from a queue.
pub(super) trait Keeper: Send + Sync + 'static {
    /// These are left over, with nobody there to take them.
    fn left(&self, queue: &Arc<Queue>, orphans: Vec<Message>);
}

/// Takes a seat, with this number.
pub(super) fn take(
    queue: Arc<Queue>,
    id: u64,
    window: Window,
    keeper: Arc<dyn Keeper>,
) -> (Weak<dyn End>, Receiver) {
    queue.join(id, window.messages());
    taken(queue, id, keeper)
}

/// The ends of a seat that was taken.
pub(super) fn taken(queue: Arc<Queue>, id: u64, keeper: Arc<dyn Keeper>) -> (Weak<dyn End>, Receiver) {
    let seat = Arc::new(Seat { queue, id, keeper });
    let end: Arc<dyn End> = seat.clone();
    (Arc::downgrade(&end), Receiver::new(Taking { seat }))
}

/// A place at a queue, which receipts keep alive.
struct Seat {
    queue: Arc<Queue>,
    id: u64,
    keeper: Arc<dyn Keeper>,
}

impl End for Seat {
    fn close(&self) {
        self.keeper.left(&self.queue, self.queue.leave(self.id));
    }
}

impl Settle for Seat {
    fn settle(&self, tag: u64, outcome: Outcome) {
        self.keeper.left(&self.queue, self.queue.settle(self.id, tag, outcome));
    }
}

struct Taking {
    seat: Arc<Seat>,
}

impl Stream for Taking {
    type Item = Result<Delivery>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.seat.queue.poll_take(self.seat.id, cx).map(|taken| {
            let Taken { tag, message, attempt } = taken?;
            let receipt = Receipt::new(self.seat.clone(), tag);
            Some(Ok(Delivery::new(message, receipt).attempt(attempt)))
        })
    }
}

impl Inbound for Taking {
    fn stop(self: Pin<&mut Self>) {
        let Seat { queue, id, keeper } = &*self.seat;
        keeper.left(queue, queue.stop(*id));
    }

    fn poll_abandoned(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        self.seat.queue.poll_abandoned(self.seat.id, cx)
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        Pin::new(self).stop();
    }
}
