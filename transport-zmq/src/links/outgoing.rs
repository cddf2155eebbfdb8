//! The sending half of an end whose messages each take one of its links.

use std::sync::Arc;

use polywire_core::message::CallId;
use polywire_core::transport::{Outbound, Sending};
use polywire_core::{Limits, Message};

use super::{Entry, Links};
use crate::error::closed;
use crate::wire::{self, Frames, Role};

/// Where messages of this role leave by.
pub(crate) struct Outgoing {
    links: Arc<Links>,
    role: Role,
    limits: Limits,
}

impl Outgoing {
    /// What tells a server that nobody waits for this call any more.
    fn cancel(&self, call: CallId) -> Option<Frames> {
        let Role::Request(service) = &self.role else { return None };
        let mut message = Message::default();
        message.id = Some(call);
        wire::encode(&Role::Cancel(service.clone()), message, &self.limits).ok()
    }

    pub(crate) fn new(links: Arc<Links>, role: Role) -> Self {
        let limits = *links.limits();
        Self { links, role, limits }
    }
}

impl Outbound for Outgoing {
    fn send(&self, message: Message) -> Sending<'_> {
        if self.links.is_closed() {
            return Sending::ready(Err(closed()));
        }
        if let Err(error) = self.limits.check(&message) {
            return Sending::ready(Err(error));
        }
        let entry = Entry::new(message.id, message.deadline, message.idempotent);
        let frames = match wire::encode(&self.role, message, &self.limits) {
            Ok(frames) => frames,
            Err(error) => return Sending::ready(Err(error)),
        };
        match self.links.send_now(&entry, frames) {
            Ok(()) => Sending::ready(Ok(())),
            Err(frames) => Sending::later(self.links.send(entry, frames)),
        }
    }

    fn abandon(&self, call: CallId) {
        self.links.abandon(call, || self.cancel(call));
    }
}
