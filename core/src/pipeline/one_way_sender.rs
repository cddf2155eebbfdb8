//! Sending half of pushers and publishers.

use std::time::Duration;

use bytestring::ByteString;
use tokio::task::coop::consume_budget;

use crate::context::propagate;
use crate::error::{Error, Result};
use crate::message::{Deadline, Headers, Message, MessageId};
use crate::middleware::Trace;
use crate::transport::{Capabilities, Sender, Transport};

/// Sender of messages without replies, with the options that pushers and publishers share.
#[derive(Clone)]
pub(crate) struct OneWaySender {
    sender: Sender,
    pub(crate) timeout: Duration,
    trace: Option<Trace>,
    supports_priorities: bool,
    supports_dead_letters: bool,
    /// The name of the option `with_priority`, for errors.
    priority_option: &'static str,
    options: SendOptions,
}

/// Options of the messages of one handle.
#[derive(Clone, Default)]
struct SendOptions {
    priority: Option<u8>,
    message_id: Option<MessageId>,
    headers: Headers,
    ttl: Option<Duration>,
    keep_expired: bool,
    transient: bool,
}

impl OneWaySender {
    pub(crate) fn new(
        transport: &impl Transport,
        sender: Sender,
        timeout: Duration,
        priority_option: &'static str,
    ) -> Self {
        let Capabilities { priorities, dead_letters, .. } = transport.capabilities();
        Self {
            sender,
            timeout,
            trace: None,
            supports_priorities: priorities,
            supports_dead_letters: dead_letters,
            priority_option,
            options: SendOptions::default(),
        }
    }

    pub(crate) fn with_priority(&self, priority: u8) -> Self {
        self.with(|options| options.priority = Some(priority))
    }

    pub(crate) fn with_message_id(&self, id: MessageId) -> Self {
        self.with(|options| options.message_id = Some(id))
    }

    pub(crate) fn with_header(
        &self,
        name: impl Into<ByteString>,
        value: impl Into<ByteString>,
    ) -> Self {
        self.with(|options| options.headers.insert(name, value))
    }

    pub(crate) fn with_ttl(&self, ttl: Duration) -> Self {
        self.with(|options| options.ttl = Some(ttl))
    }

    pub(crate) fn with_keep_expired(&self) -> Self {
        self.with(|options| options.keep_expired = true)
    }

    pub(crate) fn with_transient(&self) -> Self {
        self.with(|options| options.transient = true)
    }

    fn with(&self, set: impl FnOnce(&mut SendOptions)) -> Self {
        let mut sender = self.clone();
        set(&mut sender.options);
        sender
    }

    pub(crate) fn with_trace(&self, trace: &Trace) -> Self {
        Self { trace: Some(trace.clone()), ..self.clone() }
    }

    /// Writes the options of the handle into the next message. A header that the message has
    /// already wins.
    ///
    /// # Errors
    ///
    /// `Unsupported` if an option is set that the backend does not support.
    pub(crate) fn apply_options(&self, message: &mut Message) -> Result<()> {
        let SendOptions { priority, headers, ttl, keep_expired, transient, .. } = &self.options;
        if priority.is_some() && !self.supports_priorities {
            return Err(Error::lacking(self.priority_option, "priorities"));
        }
        if *keep_expired && !self.supports_dead_letters {
            return Err(Error::lacking("Pusher::with_keep_expired", "dead_letters"));
        }
        for (name, value) in headers.iter() {
            if message.headers.get(name).is_none() {
                message.headers.insert(name.clone(), value.clone());
            }
        }
        (message.priority, message.transient) = (*priority, *transient);
        message.deadline = ttl.map(Deadline::after);
        message.keep_expired = *keep_expired && ttl.is_some();
        Ok(())
    }

    /// Sends a message, or fails with the error of one that cannot be made.
    pub(crate) async fn send(&self, message: Result<Message>) -> Result<()> {
        let sent = match message {
            Ok(message) => self.send_traced(message).await,
            Err(error) => Err(error),
        };
        // A message that is handed over or refused at once touches nothing of tokio. After the
        // send, so that concurrent messages of a task keep their order.
        consume_budget().await;
        sent
    }

    /// Sends a message within the timeout, in a span if tracing is set. Makes its id, unless one
    /// was chosen.
    async fn send_traced(&self, mut message: Message) -> Result<()> {
        message.message_id =
            Some(self.options.message_id.clone().unwrap_or_else(MessageId::unique));
        match &self.trace {
            Some(trace) => trace.around(message, |message| self.send_within(message)).await,
            None => self.send_within(message).await,
        }
    }

    async fn send_within(&self, mut message: Message) -> Result<()> {
        propagate(&mut message);
        self.sender.send_within(message, self.timeout).await
    }
}
