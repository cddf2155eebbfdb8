//! The wire log: a line for each message that a handle sends or receives.
//!
//! A handle is wrapped when it is opened, and only if the log is on by then. Without the log, a
//! message costs nothing.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use tracing::Level;

use super::{
    Abandoned, Answer, Asked, Delivery, Inbound, Outbound, Question, Receiver, ReplySink, Sender,
    Sending, ServerAddress, ServerNotice,
};
use crate::error::Result;
use crate::health::EndpointReporter;
use crate::message::{Address, CallId, Message};

/// The target of the lines, for filters.
const TARGET: &str = "polywire::wire";

/// The longest part of a body that a line shows, in bytes.
const BODY_MAX: usize = 1_024;

/// The kind of the messages of a half of an endpoint handle.
#[derive(Clone, Copy)]
pub(crate) enum WireKind {
    /// Requests and one-way calls.
    Request,
    Reply,
    Job,
    Event,
}

/// Returns a sender that writes a line for each message, if the log is on.
pub(crate) fn log_sent(sender: Sender, kind: WireKind, name: &Address) -> Sender {
    match Line::new(kind, name) {
        Some(line) => Sender::new(LoggedSender { sender, line }),
        None => sender,
    }
}

/// Returns a receiver that writes a line for each message, if the log is on.
pub(crate) fn log_received(mut receiver: Receiver, kind: WireKind, name: &Address) -> Receiver {
    let Some(line) = Line::new(kind, name) else { return receiver };
    let (counts_attempts, health) = (receiver.counts_attempts(), receiver.health());
    Receiver::new(LoggedReceiver { receiver, line: Arc::new(line), counts_attempts, health })
}

/// The kind and the name that each line of one half has.
struct Line {
    kind: WireKind,
    /// The service, the queue or the channel.
    name: Address,
}

impl Line {
    /// Returns `None` if the log is off.
    fn new(kind: WireKind, name: &Address) -> Option<Self> {
        let is_on = tracing::enabled!(target: TARGET, Level::DEBUG);
        is_on.then(|| Self { kind, name: name.clone() })
    }

    fn kind(&self, message: &Message) -> &'static str {
        match self.kind {
            WireKind::Request if message.id.is_none() => "one-way call",
            WireKind::Request => "request",
            WireKind::Reply => "reply",
            WireKind::Job => "job",
            WireKind::Event => "event",
        }
    }

    /// Writes the line of a message; with its body, if the level `trace` is on.
    fn write(&self, message: &Message, attempt: Option<u32>, what: &str) {
        let name = self.name.as_str();
        let method = message.method.as_ref().map(Address::as_str);
        let topic = message.topic.as_ref().map(Address::as_str);
        let id = message.id.map(tracing::field::display);
        let message_id = message.message_id.as_ref().map(tracing::field::display);
        let fault = message.fault.as_ref().map(|fault| fault.code.as_str());
        let content_type = message.content_type.as_deref();
        let left_ms = message.deadline.map(|deadline| deadline.remaining().as_millis());
        let body = tracing::enabled!(target: TARGET, Level::TRACE);
        let body = body.then(|| tracing::field::display(Excerpt(message)));
        tracing::debug!(
            target: TARGET,
            kind = self.kind(message),
            name,
            method,
            topic,
            id,
            message_id,
            attempt,
            fault,
            content_type,
            left_ms,
            headers = message.headers.len(),
            bytes = message.body.len(),
            body,
            "{what}"
        );
    }

    /// Writes the line of what was received.
    fn write_received(&self, received: &Result<Delivery>) {
        match received {
            Ok(delivery) => self.write(&delivery.message, Some(delivery.attempt), "received"),
            Err(error) => {
                let name = self.name.as_str();
                tracing::debug!(target: TARGET, name, %error, "cannot receive");
            }
        }
    }

    /// Writes the line of an abandoned call.
    fn write_cancel(&self, call: CallId, is_expired: bool, what: &str) {
        let (name, id) = (self.name.as_str(), tracing::field::display(call));
        tracing::debug!(target: TARGET, kind = "cancel", name, id, is_expired, "{what}");
    }
}

/// The first bytes of a body, as text with escapes.
struct Excerpt<'a>(&'a Message);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room = BODY_MAX;
        for frame in self.0.body.frames() {
            let shown = &frame[..frame.len().min(room)];
            room -= shown.len();
            write!(f, "{}", shown.escape_ascii())?;
        }
        if self.0.body.len() > BODY_MAX { f.write_str(" …") } else { Ok(()) }
    }
}

struct LoggedSender {
    sender: Sender,
    line: Line,
}

impl Outbound for LoggedSender {
    fn send(&self, message: Message) -> Sending<'_> {
        self.line.write(&message, None, "sent");
        let (kind, id) = (self.line.kind(&message), message.id);
        let sending = self.sender.send(message);
        Sending::later(async move {
            let sent = sending.await;
            if let Err(error) = &sent {
                let (name, id) = (self.line.name.as_str(), id.map(tracing::field::display));
                tracing::debug!(target: TARGET, kind, name, id, %error, "not sent");
            }
            sent
        })
    }

    fn is_unsent_when_dropped(&self) -> bool {
        self.sender.is_unsent_when_dropped()
    }

    fn abandon(&self, call: CallId) {
        self.line.write_cancel(call, false, "sent");
        self.sender.abandon(call);
    }

    fn expire(&self, call: CallId) {
        self.line.write_cancel(call, true, "sent");
        self.sender.expire(call);
    }

    fn ask(&self, question: &Question) -> bool {
        self.sender.ask(question)
    }

    fn answer(&self, asked: &Asked, is_permitted: bool) {
        self.sender.answer(asked, is_permitted);
    }

    fn check(&self, server: &ServerAddress) {
        self.sender.check(server);
    }
}

struct LoggedReceiver {
    receiver: Receiver,
    line: Arc<Line>,
    counts_attempts: bool,
    health: Option<EndpointReporter>,
}

impl Stream for LoggedReceiver {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.receiver).poll_next(cx);
        if let Poll::Ready(Some(received)) = &next {
            self.line.write_received(received);
        }
        next
    }
}

impl Inbound for LoggedReceiver {
    fn stop(mut self: Pin<&mut Self>) {
        self.receiver.stop();
    }

    fn counts_attempts(&self) -> bool {
        self.counts_attempts
    }

    fn health(&self) -> Option<EndpointReporter> {
        self.health.clone()
    }

    fn deliver_to(mut self: Pin<&mut Self>, sink: ReplySink) -> bool {
        let line = self.line.clone();
        self.receiver.deliver_to(ReplySink::new(move |received| {
            line.write_received(&received);
            sink.deliver(received);
        }))
    }

    fn poll_abandoned(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        let polled = self.receiver.poll_abandoned(cx);
        if let Poll::Ready(abandoned) = &polled {
            self.line.write_cancel(abandoned.id, abandoned.is_expired, "received");
        }
        polled
    }

    fn poll_read_ahead(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.receiver.poll_read_ahead(cx)
    }

    fn poll_answer(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        self.receiver.poll_answer(cx)
    }

    fn poll_notice(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ServerNotice> {
        self.receiver.poll_notice(cx)
    }
}
