//! Pusher.

use std::sync::{Arc, Weak};

use super::open_handles::ManagedHandle;
use super::queue::Queue;
use super::sender_close_signal::CloseSignal;
use crate::message::{Limits, Message};
use crate::transport::{Outbound, Sender, Sending};

/// Opens a pusher of `queue`.
pub(super) fn open(queue: Arc<Queue>, limits: Limits) -> (Weak<dyn ManagedHandle>, Sender) {
    let close_signal = Arc::new(CloseSignal::default());
    let handle: Arc<dyn ManagedHandle> = close_signal.clone();
    let sender = Sender::new(JobPusher { queue, limits, close_signal });
    (Arc::downgrade(&handle), sender)
}

struct JobPusher {
    queue: Arc<Queue>,
    limits: Limits,
    close_signal: Arc<CloseSignal>,
}

impl Outbound for JobPusher {
    fn send(&self, message: Message) -> Sending<'_> {
        if let Err(error) = self.close_signal.check(&message, &self.limits) {
            return Sending::ready(Err(error));
        }
        match self.queue.try_push(Box::new(message)) {
            Ok(result) => Sending::ready(result),
            Err(message) => {
                Sending::later(self.close_signal.unless_closed(self.queue.push(message)))
            }
        }
    }
}
