//! Messages without their bodies, as plain data.

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use super::envelope_limits::exceeded;
use super::{EnvelopeLimits, FaultEnvelope, HistoryEnvelope};
use crate::error::{Code, Error, ErrorKind, Fault, Result};
use crate::message::{Address, Body, CallId, Deadline, Message, MessageId, ReplyTo, SentAt};

/// Message without its body, as plain data for any format of serde.
///
/// The body travels behind the envelope, as its frames one after the other:
/// [`frames`](Self::frames) has their lengths. A missing field has its default, and a field that
/// this version does not know is ignored, as far as the format knows the names of fields.
///
/// - **To send**, check the message with [`EnvelopeLimits::check`] when it is queued. Make the
///   envelope with [`of`](Self::of) when it is written: the remaining time of a deadline is
///   computed then.
/// - **To receive**, read at most [`EnvelopeLimits::encoded_max`] bytes, decode them, ask
///   [`body_len`](Self::body_len) for the bytes to read on, and call
///   [`into_message`](Self::into_message).
///
/// The [peer](Message::peer) of a message is never sent: the receiver's backend verifies it.
///
/// ```
/// # use polywire_codec::Json;
/// use polywire_core::transport::kit::{Envelope, EnvelopeLimits};
/// use polywire_core::{Address, Codec, Message};
///
/// let limits = EnvelopeLimits::default();
/// let sent = Message::new("[2,3]").with_method(Address::new("add")?);
/// limits.check(&sent)?;
/// let mut head = bytes::BytesMut::new();
/// Json.encode(&Envelope::of(&sent), &mut head)?;
///
/// let envelope: Envelope = Json.decode(&head)?;
/// assert_eq!(envelope.body_len(&limits)?, 5);
/// let came = envelope.into_message("[2,3]", &limits)?;
/// assert_eq!((came.method, came.body), (sent.method, sent.body));
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Envelope {
    /// Method to run.
    pub method: Option<String>,
    /// Topic of an event.
    pub topic: Option<String>,
    /// Id of the call.
    pub id: Option<u64>,
    /// Id of the message.
    pub message_id: Option<String>,
    /// Reply address, in the encoding of the backend.
    pub reply_to: Option<Vec<u8>>,
    /// Time until the deadline, in milliseconds, when the envelope was made.
    pub left_ms: Option<u64>,
    /// Clock and time of the sender when the envelope was made, if there is a deadline; see
    /// [`sent_at`](Self::sent_at).
    pub stamp: Option<(u64, u64)>,
    /// Safe to run twice.
    pub idempotent: bool,
    /// Kept after its deadline.
    pub keep_expired: bool,
    /// Not worth a disk. A mark for a broker: [`into_message`](Self::into_message) leaves it out.
    pub transient: bool,
    /// Never to be begun twice.
    pub at_most_once: bool,
    /// Fault of a failed reply.
    pub fault: Option<FaultEnvelope>,
    /// Priority.
    pub priority: Option<u8>,
    /// Media type of the body.
    pub content_type: Option<String>,
    /// Names and values of the headers. If a name is there twice, the last value counts.
    pub headers: Vec<(String, String)>,
    /// Failures of earlier attempts.
    pub history: Option<HistoryEnvelope>,
    /// Lengths of the frames of the body, in bytes. No frame is one empty frame.
    pub frames: Vec<u64>,
}

impl Envelope {
    /// Copies all of a message but its body and its peer.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        let stamp = message.deadline.map(|_| SentAt::now());
        let headers = message.headers.iter();
        Self {
            method: message.method.as_ref().map(ToString::to_string),
            topic: message.topic.as_ref().map(ToString::to_string),
            id: message.id.map(|id| id.0),
            message_id: message.message_id.as_ref().map(ToString::to_string),
            reply_to: message.reply_to.as_ref().map(|address| address.as_bytes().to_vec()),
            left_ms: message.deadline.map(Deadline::remaining_ms),
            stamp: stamp.map(|stamp| (stamp.clock, stamp.ms)),
            idempotent: message.idempotent,
            keep_expired: message.keep_expired,
            transient: message.transient,
            at_most_once: message.at_most_once,
            fault: message.fault.as_deref().map(FaultEnvelope::of),
            priority: message.priority,
            content_type: message.content_type.as_ref().map(ToString::to_string),
            headers: headers.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            history: message.history.as_deref().map(HistoryEnvelope::of),
            frames: message.body.frames().map(|frame| frame.len() as u64).collect(),
        }
    }

    /// Returns the moment at which the envelope was made, for
    /// [`WaitingTimes::shorten`](crate::transport::WaitingTimes::shorten). `None` without a
    /// deadline.
    #[must_use]
    pub fn sent_at(&self) -> Option<SentAt> {
        self.stamp.map(|(clock, ms)| SentAt { clock, ms })
    }

    /// Returns the number of bytes of the body, to be read behind the envelope.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the body has too many bytes or frames. Nothing behind the envelope
    /// can be read then, so the connection has to end.
    pub fn body_len(&self, limits: &EnvelopeLimits) -> Result<usize> {
        let (frames_max, body_max) = (limits.message.frames_max, limits.message.body_max);
        if self.frames.len() > frames_max {
            return Err(exceeded("frames", self.frames.len() as u64, frames_max));
        }
        let sum = self.frames.iter().fold(0, |sum: u64, frame| sum.saturating_add(*frame));
        match usize::try_from(sum) {
            Ok(len) if len <= body_max => Ok(len),
            _ => Err(exceeded("body", sum, body_max)),
        }
    }

    /// Returns the message with this body.
    ///
    /// The time until the deadline begins now. [Transient](Message::transient) is never set, as on
    /// each arriving message, and neither is the [peer](Message::peer).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if a field is malformed, a limit is exceeded, or the body has another
    /// length than the envelope says. The connection can go on: [`refused`](Self::refused) answers
    /// such a request.
    pub fn into_message(self, body: impl Into<Bytes>, limits: &EnvelopeLimits) -> Result<Message> {
        self.body_len(limits)?;
        // Before the headers are inserted, each of which is compared with those before it.
        let (headers, headers_max) = (self.headers.len(), limits.message.headers_max);
        if headers > headers_max {
            return Err(exceeded("headers", headers as u64, headers_max));
        }
        let body = split(body.into(), &self.frames)?;
        let address = |text: String| Address::new(text).map_err(malformed);
        let message_id = self.message_id.map(MessageId::new).transpose().map_err(malformed)?;
        let message = Message::new(body)
            .with_method(self.method.map(address).transpose()?)
            .with_topic(self.topic.map(address).transpose()?)
            .with_id(self.id.map(CallId))
            .with_message_id(message_id)
            .with_reply_to(self.reply_to.map(ReplyTo::new))
            .with_deadline(self.left_ms.map(Deadline::after_ms))
            .with_idempotent(self.idempotent)
            .with_keep_expired(self.keep_expired)
            .with_at_most_once(self.at_most_once)
            .with_fault(self.fault.map(FaultEnvelope::into_fault))
            .with_priority(self.priority)
            .with_content_type(self.content_type.map(ByteString::from))
            .with_headers(self.headers.into_iter().collect())
            .with_history(self.history.map(HistoryEnvelope::into_history));
        limits.check_decoded(&message)?;
        Ok(message)
    }

    /// Returns the message that a responder yields in place of a malformed request, as far as the
    /// request has a reply address and a call id within the limits: core answers the caller with
    /// its fault.
    ///
    /// ```
    /// use polywire_core::transport::kit::{Envelope, EnvelopeLimits};
    ///
    /// let limits = EnvelopeLimits::default();
    /// let mut envelope = Envelope::default();
    /// envelope.method = Some("two words".to_owned());
    /// (envelope.id, envelope.reply_to) = (Some(7), Some(b"caller".to_vec()));
    /// let error = envelope.clone().into_message("", &limits).unwrap_err();
    /// let refused = envelope.refused(&error, &limits).unwrap();
    /// assert!(refused.fault.unwrap().message.contains("white space"));
    /// ```
    #[must_use]
    pub fn refused(&self, error: &Error, limits: &EnvelopeLimits) -> Option<Message> {
        let reply_to = self.reply_to.as_ref().filter(|at| at.len() <= limits.reply_to_max)?;
        let id = self.id.map(CallId)?;
        let text = format!("cannot decode the request: {error}");
        let fault = Fault::new(Code::InvalidArguments, text).with_kind("MalformedRequest");
        Some(Message::failed(fault).with_id(id).with_reply_to(ReplyTo::new(reply_to.clone())))
    }
}

/// Splits the bytes of a body into its frames.
fn split(mut body: Bytes, frames: &[u64]) -> Result<Body> {
    let differs = || {
        let text = "cannot decode the message: the body has another length than its envelope says";
        Error::new(ErrorKind::Codec, text)
    };
    let mut split = Vec::with_capacity(frames.len());
    for frame in frames {
        let len = usize::try_from(*frame).ok().filter(|len| *len <= body.len());
        split.push(body.split_to(len.ok_or_else(differs)?));
    }
    if body.is_empty() { Ok(Body::from_frames(split)) } else { Err(differs()) }
}

/// The error of a field that is not of its type.
fn malformed(error: Error) -> Error {
    Error::new(ErrorKind::Codec, "cannot decode the message").with_source(error)
}
