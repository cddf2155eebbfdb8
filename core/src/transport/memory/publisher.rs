//! Publisher.

use std::sync::{Arc, Weak};

use super::event_channel::Channel;
use super::open_handles::ManagedHandle;
use super::sender_close_signal::CloseSignal;
use crate::message::{Limits, Message};
use crate::transport::{Outbound, Sender, Sending};

/// Opens a publisher of `channel`.
pub(super) fn open(channel: Arc<Channel>, limits: Limits) -> (Weak<dyn ManagedHandle>, Sender) {
    let close_signal = Arc::new(CloseSignal::default());
    let handle: Arc<dyn ManagedHandle> = close_signal.clone();
    let sender = Sender::new(EventPublisher { channel, limits, close_signal });
    (Arc::downgrade(&handle), sender)
}

struct EventPublisher {
    channel: Arc<Channel>,
    limits: Limits,
    close_signal: Arc<CloseSignal>,
}

impl Outbound for EventPublisher {
    fn send(&self, message: Message) -> Sending<'_> {
        if let Err(error) = self.close_signal.check(&message, &self.limits) {
            return Sending::ready(Err(error));
        }
        let topic = message.topic.as_ref();
        let mut queues = topic.map(|topic| self.channel.matching(topic)).unwrap_or_default();
        // A queue without a consumer accepts the message and drops it.
        queues.retain(|queue| queue.try_push(Box::new(message.clone())).is_err());
        if queues.is_empty() {
            return Sending::ready(Ok(()));
        }
        Sending::later(self.close_signal.unless_closed(async move {
            for queue in queues {
                queue.push(Box::new(message.clone())).await?;
            }
            Ok(())
        }))
    }
}
