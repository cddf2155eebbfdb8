//! Sending half of pushers and publishers.

use std::time::Duration;

use tokio::task::coop::consume_budget;

use crate::context::propagate;
use crate::error::{Error, Result};
use crate::message::{Message, MessageId};
use crate::middleware::Trace;
use crate::transport::{Sender, Transport};

/// Sender of messages without replies, with the options that pushers and publishers share.
#[derive(Clone)]
pub(crate) struct OneWaySender {
    sender: Sender,
    pub(crate) timeout: Duration,
    trace: Option<Trace>,
    supports_priorities: bool,
    priority: Option<u8>,
    message_id: Option<MessageId>,
}

impl OneWaySender {
    pub(crate) fn new(transport: &impl Transport, sender: Sender, timeout: Duration) -> Self {
        let supports_priorities = transport.capabilities().priorities;
        Self { sender, timeout, trace: None, supports_priorities, priority: None, message_id: None }
    }

    pub(crate) fn with_priority(&self, priority: u8) -> Self {
        Self { priority: Some(priority), ..self.clone() }
    }

    pub(crate) fn with_message_id(&self, id: MessageId) -> Self {
        Self { message_id: Some(id), ..self.clone() }
    }

    pub(crate) fn with_trace(&self, trace: &Trace) -> Self {
        Self { trace: Some(trace.clone()), ..self.clone() }
    }

    /// Returns the priority for the next message.
    ///
    /// # Errors
    ///
    /// `Unsupported` if a priority is set and the backend does not support priorities.
    pub(crate) fn priority(&self) -> Result<Option<u8>> {
        match self.priority {
            Some(_) if !self.supports_priorities => {
                Err(Error::lacking("Pusher::with_priority", "priorities"))
            }
            priority => Ok(priority),
        }
    }

    /// Sends a message within the timeout, in a span if tracing is set. Makes its id, unless one
    /// was chosen.
    pub(crate) async fn send(&self, mut message: Message) -> Result<()> {
        message.message_id = Some(self.message_id.clone().unwrap_or_else(MessageId::unique));
        let sent = match &self.trace {
            Some(trace) => trace.around(message, |message| self.send_within(message)).await,
            None => self.send_within(message).await,
        };
        // A message that is handed over or refused at once touches nothing of tokio. After the
        // send, so that concurrent messages of a task keep their order.
        consume_budget().await;
        sent
    }

    async fn send_within(&self, mut message: Message) -> Result<()> {
        propagate(&mut message);
        self.sender.send_within(message, self.timeout).await
    }
}
