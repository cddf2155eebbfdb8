//! What pushers and publishers have in common: messages that nobody answers go out.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::message::Message;
use crate::middleware::Trace;
use crate::transport::{Sender, Transport, send_within};

/// The way out of a pusher or a publisher.
#[derive(Clone)]
pub(crate) struct OneWaySender {
    sender: Sender,
    pub(crate) timeout: Duration,
    trace: Option<Trace>,
    knows_priorities: bool,
    priority: Option<u8>,
}

impl OneWaySender {
    pub(crate) fn new(transport: &impl Transport, sender: Sender, timeout: Duration) -> Self {
        let knows_priorities = transport.capabilities().priorities;
        Self { sender, timeout, trace: None, knows_priorities, priority: None }
    }

    pub(crate) fn with_priority(&self, priority: u8) -> Self {
        Self { priority: Some(priority), ..self.clone() }
    }

    pub(crate) fn with_trace(&self, trace: &Trace) -> Self {
        Self { trace: Some(trace.clone()), ..self.clone() }
    }

    /// How urgent what goes out is, if the backend knows such a thing.
    pub(crate) fn priority(&self) -> Result<Option<u8>> {
        match self.priority {
            Some(_) if !self.knows_priorities => Err(Error::unsupported("priorities")),
            priority => Ok(priority),
        }
    }

    /// Hands a message over, within a span if one is asked for.
    pub(crate) async fn send(&self, message: Message) -> Result<()> {
        match &self.trace {
            Some(trace) => trace.around(message, |message| self.send_within(message)).await,
            None => self.send_within(message).await,
        }
    }

    async fn send_within(&self, message: Message) -> Result<()> {
        send_within(&self.sender, message, self.timeout).await
    }
}
