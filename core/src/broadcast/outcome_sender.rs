//! The sending half of an instance: replies as outcomes for the inbox of the caller.

use std::sync::Arc;

use bytestring::ByteString;

use super::envelope::InstanceEvent;
use super::presence::Presence;
use crate::message::Message;
use crate::transport::{Outbound, Sender, Sending};

/// Sender of outcomes, over a publisher. The instance leaves when it is dropped: no outcome can
/// come from it any more.
pub(super) struct OutcomeSender {
    pub(super) sender: Sender,
    /// The text of the instance.
    pub(super) instance: ByteString,
    pub(super) presence: Arc<Presence>,
}

impl Outbound for OutcomeSender {
    fn send(&self, reply: Message) -> Sending<'_> {
        if reply.fault.as_ref().is_some_and(|fault| fault.is_silent()) {
            return Sending::ready(Ok(()));
        }
        // Each reply of a server has both.
        let (Some(reply_to), Some(call)) = (reply.reply_to.clone(), reply.id) else {
            return Sending::ready(Ok(()));
        };
        let inbox = String::from_utf8_lossy(reply_to.as_bytes());
        match InstanceEvent::outcome(reply, (&inbox, call), &self.instance) {
            Ok(event) => self.sender.send(event),
            Err(error) => Sending::ready(Err(error.unsent())),
        }
    }

    fn is_unsent_when_dropped(&self) -> bool {
        self.sender.is_unsent_when_dropped()
    }
}

impl Drop for OutcomeSender {
    fn drop(&mut self) {
        self.presence.leave();
    }
}
