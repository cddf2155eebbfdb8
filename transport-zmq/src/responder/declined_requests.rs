//! Requests that another responder in this process can take if the first one declines them.

use std::sync::Arc;

use polywire_core::Message;
use polywire_core::transport::{Delivery, Outcome, Receipt, Settle};

use super::dispatcher::Dispatcher;
use super::service_queue::ServiceQueue;

/// A copy of a request, kept until its responder settles it. The next responder gets the copy if
/// the first one declines; if all have declined, the caller gets the fault of the last one.
///
/// Responders in other processes are tried by the requester, which keeps the request for that. The
/// body of the copy shares the memory of the original.
pub(super) struct DeclinableDelivery {
    /// The copy.
    message: Box<Message>,
    /// The way back, if all consumers decline.
    dispatcher: Arc<Dispatcher>,
    /// The queue of the other consumers.
    queue: Arc<ServiceQueue>,
    /// The consumers that have had the request, with the one that has it now.
    tried: Vec<u64>,
}

impl DeclinableDelivery {
    /// Returns a delivery of the same message that can be declined. `tried` are the consumers that
    /// have had the request, with the one that gets this delivery.
    pub(super) fn wrap(
        delivery: Delivery,
        dispatcher: Arc<Dispatcher>,
        queue: Arc<ServiceQueue>,
        tried: Vec<u64>,
    ) -> Delivery {
        let copy = Self { message: delivery.message.clone(), dispatcher, queue, tried };
        Delivery::new(delivery.message, Receipt::new(Arc::new(copy), 0))
    }
}

impl Settle for DeclinableDelivery {
    /// Passes a declined request on, or sends the fault to its caller. Other outcomes have no
    /// meaning on ZeroMQ, which does not settle.
    fn settle(&self, _: u64, outcome: Outcome) {
        let Outcome::Decline(fault) = outcome else { return };
        let declined = self.queue.push_declined(self.message.clone(), &self.tried);
        if let Err(message) = declined {
            let mut reply = Message::failed(*fault);
            (reply.id, reply.reply_to) = (message.id, message.reply_to);
            self.dispatcher.replies().reply_soon(reply);
        }
    }
}
