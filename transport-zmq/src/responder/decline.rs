//! Requests that another responder in this process can take if the first one declines them.

use std::sync::Arc;

use polywire_core::Message;
use polywire_core::transport::{Delivery, Outcome, Receipt, Settle};

use super::dispatcher::Dispatcher;
use super::service_queue::ServiceQueue;

/// A copy of a request, kept until its responder settles it. The next responder gets the copy if
/// the first one declines.
///
/// Responders in other processes are tried by the requester.
pub(super) struct DeclinableDelivery {
    message: Message,
    dispatcher: Arc<Dispatcher>,
    queue: Arc<ServiceQueue>,
    /// The consumers that have had the request.
    tried: Vec<u64>,
}

impl DeclinableDelivery {
    /// Returns a delivery of the same message that can be declined.
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
    fn settle(&self, _: u64, outcome: Outcome) {
        // Other outcomes have no meaning on ZeroMQ, which does not settle.
        let Outcome::Decline(fault) = outcome else { return };
        let declined = self.queue.push_declined(self.message.clone(), &self.tried);
        if let Err(Message { id, reply_to, .. }) = declined {
            let mut reply = Message::failed(*fault);
            (reply.id, reply.reply_to) = (id, reply_to);
            // Not awaited, as with a refusal: without room, the call times out.
            drop(self.dispatcher.reply(reply));
        }
    }
}
