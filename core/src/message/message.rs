//! The message, as core and every backend know it.

use std::sync::Arc;

use bytestring::ByteString;

use super::{Address, Body, CallId, Deadline, Headers, History, Identity, MessageId, ReplyTo};
use crate::error::Fault;

/// Message, independent of the wire format.
///
/// A backend encodes each field on its wire: as properties and headers on AMQP, as an envelope
/// frame on ZeroMQ. The memory transport passes the value as it is. Core reads and writes the
/// fields and never sees a wire.
///
/// Moving a message moves a few pointers; clones share the bytes.
///
/// The struct is `#[non_exhaustive]`. A backend builds one with [`Message::new`] and the `with_…`
/// methods, each of which takes a value or an [`Option`]:
///
/// ```
/// use polywire_core::message::CallId;
/// use polywire_core::{Address, Deadline, Message};
///
/// let deadline: Option<Deadline> = None; // the wire had none
/// let message = Message::new("[2,3]")
///     .with_method(Address::new("add")?)
///     .with_id(CallId(7))
///     .with_deadline(deadline)
///     .with_header("tenant", "acme");
/// assert_eq!(message.id, Some(CallId(7)));
/// assert_eq!(message.headers.get("tenant"), Some("acme"));
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Message {
    /// Method to run. Set on a request.
    pub method: Option<Address>,
    /// Topic that subscribers filter on. Set on a published message.
    pub topic: Option<Address>,
    /// Id of the call that this message makes or answers.
    pub id: Option<CallId>,
    /// Id of the message, the same for each delivery of it. Set by core on jobs, events and one-way
    /// calls; on a call only if its caller chose one. A reply has none.
    pub message_id: Option<MessageId>,
    /// Address for the reply. Set by the backend on an arriving request, and by core on the reply
    /// to that request.
    pub reply_to: Option<ReplyTo>,
    /// Verified identity of the sender. Set by the backend on an arriving message, if the backend
    /// [verifies](crate::Capabilities::security) its peers and has verified this one. Never sent.
    pub peer: Option<Arc<Identity>>,
    /// Moment from which the client no longer waits for the outcome of a call, or by which a
    /// one-way call, a job or an event must begin.
    pub deadline: Option<Deadline>,
    /// Safe to run twice. A backend may send an idempotent request again when its outcome is
    /// unknown. Set by core on a request that its client marks as
    /// [idempotent](crate::Request::idempotent).
    pub idempotent: bool,
    /// Kept after its deadline: a broker must not remove the message, so that its receiver can
    /// dead-letter it as [expired](crate::message::DeadLetterReason::Expired). Set by core on a
    /// one-way call or a job that asks for it.
    pub keep_expired: bool,
    /// Not worth a disk: a broker that keeps messages on disk need not keep this one there, and may
    /// lose it in a restart. A backend without a disk ignores the mark. Never set on an arriving
    /// message.
    pub transient: bool,
    /// Never to be begun twice. A backend does not send such a request again after its server was
    /// lost, and a server asks the caller before it begins the call. Set by core on a request that
    /// its client marks as [at most once](crate::Request::at_most_once).
    pub at_most_once: bool,
    /// Fault of a failed reply. On an arriving request: the reason why the request cannot be
    /// decoded; core answers the request with this fault.
    pub fault: Option<Box<Fault>>,
    /// Priority. Where queues support priorities, higher values are delivered first. `None` counts
    /// as 0.
    pub priority: Option<u8>,
    /// Media type of the body.
    pub content_type: Option<ByteString>,
    /// Application headers.
    pub headers: Headers,
    /// Failures of earlier attempts. Set by the backend on an arriving message; an outgoing
    /// message has none.
    pub history: Option<Box<History>>,
    /// Content.
    pub body: Body,
}

impl Message {
    /// Creates a message with this body; all other fields are empty.
    #[must_use]
    pub fn new(body: impl Into<Body>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// Creates a request for `method` with an empty body.
    #[must_use]
    pub fn request(method: Address, deadline: Deadline) -> Self {
        Self { method: Some(method), deadline: Some(deadline), ..Self::default() }
    }

    /// Creates a failed reply.
    #[must_use]
    pub fn failed(fault: Fault) -> Self {
        Self { fault: Some(Box::new(fault)), ..Self::default() }
    }

    /// Sets the [method](Self::method).
    #[must_use]
    pub fn with_method(self, method: impl Into<Option<Address>>) -> Self {
        Self { method: method.into(), ..self }
    }

    /// Sets the [topic](Self::topic).
    #[must_use]
    pub fn with_topic(self, topic: impl Into<Option<Address>>) -> Self {
        Self { topic: topic.into(), ..self }
    }

    /// Sets the [call id](Self::id).
    #[must_use]
    pub fn with_id(self, id: impl Into<Option<CallId>>) -> Self {
        Self { id: id.into(), ..self }
    }

    /// Sets the [message id](Self::message_id).
    #[must_use]
    pub fn with_message_id(self, message_id: impl Into<Option<MessageId>>) -> Self {
        Self { message_id: message_id.into(), ..self }
    }

    /// Sets the [reply address](Self::reply_to).
    #[must_use]
    pub fn with_reply_to(self, reply_to: impl Into<Option<ReplyTo>>) -> Self {
        Self { reply_to: reply_to.into(), ..self }
    }

    /// Sets the verified [identity](Self::peer) of the sender.
    #[must_use]
    pub fn with_peer(self, peer: impl Into<Option<Arc<Identity>>>) -> Self {
        Self { peer: peer.into(), ..self }
    }

    /// Sets the [deadline](Self::deadline).
    #[must_use]
    pub fn with_deadline(self, deadline: impl Into<Option<Deadline>>) -> Self {
        Self { deadline: deadline.into(), ..self }
    }

    /// Marks the message as [idempotent](Self::idempotent), or not. The default is not.
    #[must_use]
    pub fn with_idempotent(self, idempotent: bool) -> Self {
        Self { idempotent, ..self }
    }

    /// Keeps the message after its deadline, or not; see [`keep_expired`](Self::keep_expired). The
    /// default is not.
    #[must_use]
    pub fn with_keep_expired(self, keep_expired: bool) -> Self {
        Self { keep_expired, ..self }
    }

    /// Marks the message as [transient](Self::transient), or not. The default is not.
    #[must_use]
    pub fn with_transient(self, transient: bool) -> Self {
        Self { transient, ..self }
    }

    /// Marks the message as one that is run [at most once](Self::at_most_once), or not. The default
    /// is not.
    #[must_use]
    pub fn with_at_most_once(self, at_most_once: bool) -> Self {
        Self { at_most_once, ..self }
    }

    /// Sets the [fault](Self::fault).
    #[must_use]
    pub fn with_fault(self, fault: impl Into<Option<Fault>>) -> Self {
        Self { fault: fault.into().map(Box::new), ..self }
    }

    /// Sets the [priority](Self::priority).
    #[must_use]
    pub fn with_priority(self, priority: impl Into<Option<u8>>) -> Self {
        Self { priority: priority.into(), ..self }
    }

    /// Sets the [media type](Self::content_type) of the body.
    #[must_use]
    pub fn with_content_type(self, content_type: impl Into<Option<ByteString>>) -> Self {
        Self { content_type: content_type.into(), ..self }
    }

    /// Replaces all [headers](Self::headers).
    #[must_use]
    pub fn with_headers(self, headers: Headers) -> Self {
        Self { headers, ..self }
    }

    /// Sets one header and replaces its previous value.
    #[must_use]
    pub fn with_header(
        mut self,
        name: impl Into<ByteString>,
        value: impl Into<ByteString>,
    ) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets the [history](Self::history).
    #[must_use]
    pub fn with_history(self, history: impl Into<Option<History>>) -> Self {
        Self { history: history.into().map(Box::new), ..self }
    }

    /// Sets the [body](Self::body).
    #[must_use]
    pub fn with_body(self, body: impl Into<Body>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// Returns the [message id](Self::message_id). For a received call without one, returns an id
    /// that is made of the reply address and the call id, and so is equal for each delivery.
    #[must_use]
    pub fn id_for_receiver(&self) -> Option<MessageId> {
        let of_call = || self.call_number().map(MessageId::of_call);
        self.message_id.clone().or_else(of_call)
    }

    /// Returns the number of a received call, equal for each delivery; `None` for a message without
    /// a reply address.
    pub(crate) fn call_number(&self) -> Option<u64> {
        self.reply_to.as_ref().map(|reply_to| reply_to.call_number(self.id))
    }
}
