//! The taking half of every end: a seat at a queue.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::time::{Sleep, sleep_until};

use super::End;
use super::queue::{Found, Queue, Taken};
use crate::error::Result;
use crate::message::Message;
use crate::transport::{Abandoned, Delivery, Inbound, Outcome, Receipt, Receiver, Settle, Window};

/// What is to be done when somebody takes no more from a queue.
pub(super) trait OrphanHandler: Send + Sync + 'static {
    /// These are left over, with nobody there to take them.
    fn left(&self, queue: &Arc<Queue>, orphans: Vec<Message>);
}

/// Takes a seat, with this number.
pub(super) fn take(
    queue: Arc<Queue>,
    id: u64,
    window: Window,
    keeper: Arc<dyn OrphanHandler>,
) -> (Weak<dyn End>, Receiver) {
    queue.join(id, window.messages());
    taken(queue, id, keeper)
}

/// The ends of a seat that was taken.
pub(super) fn taken(
    queue: Arc<Queue>,
    id: u64,
    keeper: Arc<dyn OrphanHandler>,
) -> (Weak<dyn End>, Receiver) {
    let seat = Arc::new(Seat { queue, id, keeper });
    let end: Arc<dyn End> = seat.clone();
    (Arc::downgrade(&end), Receiver::new(ConsumerStream { seat, alarm: None }))
}

/// A place at a queue, which receipts keep alive.
struct Seat {
    queue: Arc<Queue>,
    id: u64,
    keeper: Arc<dyn OrphanHandler>,
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

struct ConsumerStream {
    seat: Arc<Seat>,
    /// Rings when something is due that was put off.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Stream for ConsumerStream {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { seat, alarm } = &mut *self;
        loop {
            let due = match seat.queue.take(seat.id, cx) {
                Found::Taken(Taken { tag, message, attempt }) => {
                    let receipt = Receipt::new(seat.clone(), tag);
                    return Poll::Ready(Some(Ok(Delivery::new(message, receipt).attempt(attempt))));
                }
                Found::End => return Poll::Ready(None),
                Found::Nothing(due) => due,
            };
            let Some(due) = due else {
                *alarm = None;
                return Poll::Pending;
            };
            std::task::ready!(alarm.insert(Box::pin(sleep_until(due))).as_mut().poll(cx));
        }
    }
}

impl Inbound for ConsumerStream {
    fn stop(self: Pin<&mut Self>) {
        let Seat { queue, id, keeper } = &*self.seat;
        keeper.left(queue, queue.stop(*id));
    }

    fn poll_abandoned(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        self.seat.queue.poll_abandoned(self.seat.id, cx)
    }
}

impl Drop for ConsumerStream {
    fn drop(&mut self) {
        Pin::new(self).stop();
    }
}
