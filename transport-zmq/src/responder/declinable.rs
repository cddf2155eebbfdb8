//! A request that one of several responders in this process has taken.

use std::sync::Arc;

use polywire_core::Message;
use polywire_core::transport::{Delivery, Outcome, Receipt, Settle};

use super::desk::Desk;
use super::queue::Queue;

/// What is kept of a request until its responder has said what became of it: the next one gets it,
/// if it declines.
///
/// The servers of other processes are the caller's to ask.
pub(super) struct Declinable {
    message: Message,
    desk: Arc<Desk>,
    queue: Arc<Queue>,
    /// The seats that have had it.
    had: Vec<u64>,
}

impl Declinable {
    /// The delivery, so that it can be declined.
    pub(super) fn deliver(
        delivery: Delivery,
        desk: Arc<Desk>,
        queue: Arc<Queue>,
        had: Vec<u64>,
    ) -> Delivery {
        let kept = Self { message: delivery.message.clone(), desk, queue, had };
        Delivery::new(delivery.message, Receipt::new(Arc::new(kept), 0))
    }
}

impl Settle for Declinable {
    fn settle(&self, _: u64, outcome: Outcome) {
        // The rest means nothing here: what has arrived is done with.
        let Outcome::Decline(fault) = outcome else { return };
        if let Err(Message { id, reply_to, .. }) =
            self.queue.hand_on(self.message.clone(), &self.had)
        {
            let mut reply = Message::failed(*fault);
            (reply.id, reply.reply_to) = (id, reply_to);
            // As with a refusal: a peer that has no room learns it by its deadline.
            drop(self.desk.reply(reply));
        }
    }
}
