//! Several calls, or several replies, as one message.
//!
//! | property | batch of calls | returned batch | batch of replies |
//! |---|---|---|---|
//! | exchange, routing key | the default exchange, `SERVICE..batches` | the default exchange, the `reply_to` of the batch | the same |
//! | `type` | `polywire.batch.calls` | `polywire.batch.returned` | `polywire.batch.replies` |
//! | `reply_to` | the reply queue of the client | | |
//! | `expiration` | the milliseconds until the latest deadline | the same | |
//! | `user_id` | the user of the connection, if verified | | |
//! | `delivery_mode` | 2, persistent | 2 | 2 |
//! | headers | `polywire.sent` | `polywire.sent` | `polywire.batches` |
//!
//! The body has an entry for each message: a length in four bytes, big-endian, and that many bytes
//! in the layout of `batch_entry.rs`.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use lapin::BasicProperties;
use lapin::message::Delivery as RawDelivery;
use lapin::types::{AMQPValue, ShortString};
use polywire_core::message::ReplyTo;
use polywire_core::{Code, Deadline, Error, Fault, Identity, Limits, Message, Result};

use super::headers::{ATTEMPT, BATCHES, CRASHES, check_well_formed, count, undecodable};
use super::{batch_entry, properties};
use crate::wire::correlation::Correlation;
use crate::wire::outgoing::OutgoingMessage;
use crate::wire::republished_delivery::Republish;

/// The largest batch in bytes that is written or read: 32 KiB. A small body that its receiver keeps
/// keeps the memory of its batch.
pub(crate) const BATCH_MAX: usize = 32 << 10;
/// The largest entry in bytes: 4 KiB. Joining larger messages saves little.
pub(crate) const ENTRY_MAX: usize = 4 << 10;
/// The most messages in a batch.
pub(crate) const ENTRIES_MAX: usize = 64;
/// Bytes of the length of an entry.
const LENGTH: usize = 4;

/// Type of a batch of calls.
const CALLS: &str = "polywire.batch.calls";
/// Type of a batch of calls that comes back to its client.
const RETURNED: &str = "polywire.batch.returned";
/// Type of a batch of replies.
const REPLIES: &str = "polywire.batch.replies";

/// A batch that is being written.
pub(crate) struct BatchWriter {
    entries: BytesMut,
    /// The latest deadline of all messages.
    deadline: Option<Deadline>,
}

impl BatchWriter {
    /// Creates an empty batch of messages with deadlines up to `deadline`, for about `size` bytes.
    pub(crate) fn new(deadline: Option<Deadline>, size: usize) -> Self {
        Self { entries: BytesMut::with_capacity(size), deadline }
    }

    /// Adds a message, which must have an [entry length](batch_entry::entry_len).
    pub(crate) fn push(&mut self, correlation_id: &str, message: &Message) {
        let start = self.entries.len();
        self.entries.put_u32(0);
        batch_entry::write(&mut self.entries, correlation_id, message, self.deadline);
        let length = self.entries.len() - start - LENGTH;
        // An entry is far smaller than 4 GiB.
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        self.entries[start..start + LENGTH].copy_from_slice(&length);
    }

    /// Encodes the batch as calls that get their replies at `reply_queue`.
    pub(crate) fn into_calls(
        self,
        queue: &ShortString,
        reply_queue: &ShortString,
        persistent: bool,
    ) -> OutgoingMessage {
        let properties = of_kind(CALLS, persistent).with_reply_to(reply_queue.clone());
        let body = self.entries.freeze();
        let batch = OutgoingMessage::to_queue(queue.clone(), properties, body);
        OutgoingMessage { deadline: self.deadline, ..batch.with_user_id() }
    }

    /// Encodes the batch as replies, with an [announcement](announce) of `calls`.
    pub(crate) fn into_replies(
        self,
        reply_queue: &ShortString,
        calls: usize,
        persistent: bool,
    ) -> OutgoingMessage {
        let properties = of_kind(REPLIES, persistent);
        let body = self.entries.freeze();
        announce(OutgoingMessage::to_queue(reply_queue.clone(), properties, body), calls)
    }
}

/// A batch of calls that was received: by a server, or by the client that it returns to.
pub(crate) struct CallBatch {
    /// The queue for the replies. Empty in a returned batch.
    reply_queue: ByteString,
    /// The user who has sent the batch, as the broker has verified.
    user: Option<ShortString>,
    peer: Option<Arc<Identity>>,
    /// The latest deadline of the calls.
    pub(crate) deadline: Option<Deadline>,
    is_persistent: bool,
    body: Bytes,
    entries: Vec<Bytes>,
}

impl CallBatch {
    /// Decodes a batch for a server. `shortened` takes the time off its deadline that the batch has
    /// waited.
    ///
    /// # Errors
    ///
    /// [`Codec`](polywire_core::ErrorKind::Codec) if the message is no well-formed batch of calls.
    pub(crate) fn decode(
        raw: RawDelivery,
        shortened: impl FnOnce(Deadline) -> Deadline,
    ) -> Result<Self> {
        let mut batch = Self::read(&raw.properties, raw.data, CALLS)?;
        batch.deadline = batch.deadline.map(shortened);
        if batch.reply_queue.is_empty() {
            return Err(undecodable("it is a batch without a reply address"));
        }
        Ok(batch)
    }

    /// Decodes a batch that comes back to its client; `None` if the message is something else.
    pub(crate) fn decode_returned(raw: &mut RawDelivery) -> Option<Result<Self>> {
        is_of_kind(&raw.properties, RETURNED).then(|| {
            let data = std::mem::take(&mut raw.data);
            Self::read(&raw.properties, data, RETURNED)
        })
    }

    fn read(properties: &BasicProperties, data: Vec<u8>, kind: &str) -> Result<Self> {
        check_well_formed(properties.headers().as_ref())?;
        if !is_of_kind(properties, kind) {
            return Err(undecodable("it is no batch of calls"));
        }
        let text =
            |text: &Option<ShortString>| text.as_ref().map(|text| ByteString::from(text.as_str()));
        let ms = properties.expiration().as_ref().and_then(|ms| ms.as_str().parse().ok());
        let user = properties.user_id().clone();
        let peer = text(&user).map(|user| Arc::new(Identity::User(user)));
        let body = Bytes::from(data);
        Ok(Self {
            reply_queue: text(properties.reply_to()).unwrap_or_default(),
            user,
            peer,
            deadline: ms.map(Deadline::after_ms),
            is_persistent: *properties.delivery_mode() == Some(2),
            entries: split(body.clone())?,
            body,
        })
    }

    /// Returns the number of calls.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Decodes a call as a request; `None` if its entry does not name the call. A malformed call,
    /// or one over the limits, has a fault, with which the server replies.
    pub(crate) fn request(&self, index: usize, limits: &Limits) -> Option<Message> {
        let (id, mut message, read) = self.entry(index)?;
        message.reply_to = Some(self.address(&id)?);
        message.peer.clone_from(&self.peer);
        if let Err(error) = read.and_then(|()| limits.check(&message)) {
            let text = format!("cannot decode the request: {error}");
            message.fault = Some(Box::new(Fault::new(Code::InvalidArguments, text)));
        }
        Some(message)
    }

    /// Returns a call as a single message of its own, unchanged, to publish again; `None` if its
    /// entry is malformed.
    pub(crate) fn single(&self, index: usize) -> Option<Republish> {
        let (id, message, read) = self.entry(index)?;
        read.ok()?;
        let id = ShortString::try_new(&*id).ok()?;
        let mut properties = properties::shared(&message, self.is_persistent).ok()?;
        properties = properties.with_correlation_id(id.clone()).with_message_id(id);
        properties = properties.with_reply_to(ShortString::try_new(&*self.reply_queue).ok()?);
        if let Some(id) = &message.message_id {
            properties = properties::with_message_id(properties, id);
        }
        if let Some(user) = &self.user {
            properties = properties.with_user_id(user.clone());
        }
        let copy = Republish::new(properties, None, message.body.into_bytes(), 1);
        Some(Republish { deadline: message.deadline, ..copy })
    }

    /// Returns the calls of a returned batch, with the numbers of their requesters.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (Correlation, Message)> {
        (0..self.len()).filter_map(|index| {
            let (id, message, read) = self.entry(index)?;
            read.ok()?;
            Some((properties::parse_correlation(&id)?, message))
        })
    }

    /// Encodes the batch for the reply queue of its client.
    pub(crate) fn to_client(&self) -> Option<OutgoingMessage> {
        let queue = ShortString::try_new(&*self.reply_queue).ok()?;
        let properties = of_kind(RETURNED, self.is_persistent);
        let batch = OutgoingMessage::to_queue(queue, properties, self.body.clone());
        Some(OutgoingMessage { deadline: self.deadline, ..batch })
    }

    /// Returns the reply address of the first call.
    pub(crate) fn first_address(&self) -> Option<ReplyTo> {
        let (id, ..) = self.entry(0)?;
        self.address(&id)
    }

    /// Returns the reply address of a call, as `reply_address` does, so that a cancel of the call
    /// has the same address.
    fn address(&self, id: &str) -> Option<ReplyTo> {
        let length = u8::try_from(self.reply_queue.len()).ok()?;
        let address = [&[length][..], self.reply_queue.as_bytes(), id.as_bytes()].concat();
        Some(ReplyTo::new(address))
    }

    /// Reads an entry. `None` if it has no correlation id.
    fn entry(&self, index: usize) -> Option<(ByteString, Message, Result<()>)> {
        let mut entry = self.entries.get(index)?.clone();
        let (flags, id) = batch_entry::take_correlation_id(&mut entry)?;
        let mut message = Message::default();
        message.id = properties::parse_correlation(&id).map(|correlation| correlation.call);
        let read = batch_entry::read(flags, entry, self.deadline, &mut message);
        Some((id, message, read))
    }
}

/// A reply of a batch: its call, and the outcome of decoding.
pub(crate) type BatchedReply = (Correlation, Result<Message>);

/// Decodes a batch of replies; `None` if the message is something else. Replies without a call of
/// ours are left out.
///
/// # Errors
///
/// [`Codec`](polywire_core::ErrorKind::Codec) if the batch is malformed.
pub(crate) fn decode_replies(
    raw: &mut RawDelivery,
    limits: &Limits,
) -> Option<Result<Vec<BatchedReply>>> {
    if !is_of_kind(&raw.properties, REPLIES) {
        return None;
    }
    let entries = check_well_formed(raw.properties.headers().as_ref())
        .and_then(|()| split(std::mem::take(&mut raw.data).into()));
    Some(entries.map(|entries| {
        let replies = entries.into_iter().filter_map(|mut entry| {
            let (flags, id) = batch_entry::take_correlation_id(&mut entry)?;
            let correlation = properties::parse_correlation(&id)?;
            let mut reply = Message::default();
            reply.id = Some(correlation.call);
            let read = batch_entry::read(flags, entry, None, &mut reply);
            let read = read.and_then(|()| limits.check(&reply));
            Some((correlation, read.map(|()| reply)))
        });
        replies.collect()
    }))
}

/// Adds the announcement that the server reads batches of up to `calls` calls; with 0, adds none.
pub(crate) fn announce(mut reply: OutgoingMessage, calls: usize) -> OutgoingMessage {
    if calls > 0 {
        let calls = AMQPValue::LongLongInt(i64::try_from(calls).unwrap_or(i64::MAX));
        reply.properties = with_header(reply.properties, BATCHES, calls);
    }
    reply
}

/// Returns the number of calls that a batch for the sender of a reply may hold, if it reads
/// batches.
pub(crate) fn announced(properties: &BasicProperties) -> Option<usize> {
    let calls = count(properties.headers().as_ref()?.inner().get(BATCHES)?)?;
    usize::try_from(calls).ok().filter(|calls| *calls > 0)
}

/// Marks a request as one that was delivered before, for the queue of suspects or for that of the
/// service.
pub(crate) fn mark_redelivered(mut request: OutgoingMessage, is_suspect: bool) -> OutgoingMessage {
    let (name, number) = if is_suspect { (CRASHES, 0) } else { (ATTEMPT, 2) };
    request.properties = with_header(request.properties, name, AMQPValue::LongLongInt(number));
    request
}

fn with_header(
    properties: BasicProperties,
    name: &'static str,
    value: AMQPValue,
) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert(name.into(), value);
    properties.with_headers(headers)
}

fn of_kind(kind: &str, persistent: bool) -> BasicProperties {
    let mode = if persistent { 2 } else { 1 };
    BasicProperties::default().with_delivery_mode(mode).with_type(kind.into())
}

fn is_of_kind(properties: &BasicProperties, kind: &str) -> bool {
    properties.kind().as_ref().is_some_and(|is| is.as_str() == kind)
}

/// Splits the body of a batch into its entries.
fn split(mut body: Bytes) -> Result<Vec<Bytes>, Error> {
    let mut entries = Vec::new();
    if body.len() > BATCH_MAX {
        return Err(undecodable("it is a batch of more than 32 KiB"));
    }
    while !body.is_empty() {
        let length = body.try_get_u32().ok().and_then(|length| usize::try_from(length).ok());
        match length.filter(|length| *length <= body.len() && entries.len() < ENTRIES_MAX) {
            Some(length) => entries.push(body.split_to(length)),
            None => return Err(undecodable("it is a batch that is cut or has too many entries")),
        }
    }
    Ok(entries)
}
