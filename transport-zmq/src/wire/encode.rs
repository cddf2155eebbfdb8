//! Encoding: from a message to frames.
//!
//! The fields are written twice by the same code: first into a counter, then into a buffer of that
//! size. So the head takes one allocation. A large body is moved into its own frames and never
//! copied.

use std::borrow::BorrowMut;

use bytes::Bytes;
use polywire_core::message::SentAt;
use polywire_core::{Deadline, Error, ErrorKind, Fault, Limits, Message, Result};

use super::frames::Frames;
use super::layout::{FIXED, INLINE_MAX, MAGIC, VERSION, flag, head_max, kind, tag};
use super::message_role::MessageRole;

/// Encodes a message, boxed or not. A boxed one is not moved out of its box.
///
/// A body of one piece and at most 4 KiB becomes part of the envelope. The body is not checked
/// against the limits here: the caller does that before.
///
/// # Errors
///
/// `TooLarge` if the envelope is larger than the limits allow. The error is marked as unsent.
pub(crate) fn encode(
    role: &MessageRole,
    mut message: impl BorrowMut<Message>,
    limits: &Limits,
) -> Result<Frames> {
    encode_taking_body(role, message.borrow_mut(), limits)
}

/// Encodes a message, whose body it may take.
fn encode_taking_body(
    role: &MessageRole,
    message: &mut Message,
    limits: &Limits,
) -> Result<Frames> {
    let head_max = head_max(limits);
    let inline = message.body.as_slice().filter(|body| body.len() <= INLINE_MAX);
    let sent = has_sent(role, message).then(|| SentAt::now().to_bytes());
    let mut size = Size(FIXED);
    fields(role, message, sent, inline, &mut size);
    if size.0 > head_max {
        let error = Error::new(
            ErrorKind::TooLarge,
            "cannot encode the message: it is larger than the limit",
        );
        return Err(error
            .with("what", "envelope")
            .with("size", size.0)
            .with("limit", head_max)
            .unsent());
    }
    // With the exact capacity, so that the conversion to `Bytes` copies nothing.
    let mut head = Vec::with_capacity(size.0);
    fixed(role, message, &mut head);
    fields(role, message, sent, inline, &mut head);
    let body = if inline.is_some() { None } else { Some(std::mem::take(&mut message.body)) };
    Ok(Frames { head: Bytes::from(head), body })
}

/// Writes the fixed part.
///
/// Appends 16 bytes to an empty `head`. The deadline is written as the time that is left now.
pub(super) fn fixed(role: &MessageRole, message: &Message, head: &mut Vec<u8>) {
    let kind = match role {
        MessageRole::Request(_) => kind::REQUEST,
        MessageRole::Reply => kind::REPLY,
        MessageRole::Refusal => kind::REFUSAL,
        MessageRole::Job(_) => kind::JOB,
        MessageRole::Event => kind::EVENT,
        MessageRole::Cancel(_) => kind::CANCEL,
        MessageRole::Loss => kind::LOSS,
        MessageRole::Leave => kind::LEAVE,
    };
    let has_id = message.id.map_or(0, |_| flag::HAS_ID);
    let has_deadline = message.deadline.map_or(0, |_| flag::HAS_DEADLINE);
    let is_idempotent = if message.idempotent { flag::IS_IDEMPOTENT } else { 0 };
    let is_at_most_once = if message.at_most_once { flag::IS_AT_MOST_ONCE } else { 0 };
    let flags = has_id | has_deadline | is_idempotent | is_at_most_once;
    head.extend_from_slice(&[MAGIC, VERSION, kind, flags]);
    head.extend_from_slice(&message.id.map_or(0, |id| id.0).to_be_bytes());
    head.extend_from_slice(&deadline_ms(message.deadline));
}

/// Returns the time until the deadline in milliseconds, as the envelope holds it; 0 for none.
///
/// Big-endian. A deadline that has passed is 0, too; the flag distinguishes the two.
pub(super) fn deadline_ms(deadline: Option<Deadline>) -> [u8; 4] {
    let ms = deadline.map_or(0, Deadline::remaining_ms);
    u32::try_from(ms).unwrap_or(u32::MAX).to_be_bytes()
}

/// Returns whether a message says when it was sent: a request, a job and an event with a deadline
/// do.
fn has_sent(role: &MessageRole, message: &Message) -> bool {
    matches!(role, MessageRole::Request(_) | MessageRole::Job(_) | MessageRole::Event)
        && message.deadline.is_some()
}

/// Writes the fields, with the body last if it is `inline`.
fn fields(
    role: &MessageRole,
    message: &Message,
    sent: Option<[u8; 16]>,
    inline: Option<&[u8]>,
    out: &mut impl Out,
) {
    // The first field, so that its place is known when it is written anew.
    if let Some(sent) = sent {
        field(tag::SENT, &sent, out);
    }
    if let MessageRole::Request(address)
    | MessageRole::Job(address)
    | MessageRole::Cancel(address) = role
    {
        field(tag::SERVICE, address.as_str().as_bytes(), out);
    }
    if let Some(method) = &message.method {
        field(tag::METHOD, method.as_str().as_bytes(), out);
    }
    if let Some(id) = &message.message_id {
        field(tag::MESSAGE_ID, id.as_str().as_bytes(), out);
    }
    if let Some(content_type) = &message.content_type {
        field(tag::CONTENT_TYPE, content_type.as_bytes(), out);
    }
    for (name, value) in message.headers.iter() {
        out.put(&[tag::HEADER]);
        length(length_size(name.len()) + name.len() + value.len(), out);
        length(name.len(), out);
        out.put(name.as_bytes());
        out.put(value.as_bytes());
    }
    if let Some(fault) = &message.fault {
        fault_fields(fault, out);
    }
    if let Some(body) = inline.filter(|body| !body.is_empty()) {
        field(tag::BODY, body, out);
    }
}

/// Writes the code of a fault, and the other parts unless they have their defaults.
///
/// The code comes first: a reader needs the code before the other parts.
fn fault_fields(fault: &Fault, out: &mut impl Out) {
    field(tag::FAULT_CODE, &[fault.code.as_u8()], out);
    if fault.kind != fault.code.as_str() {
        field(tag::FAULT_KIND, fault.kind.as_bytes(), out);
    }
    if !fault.message.is_empty() {
        field(tag::FAULT_MESSAGE, fault.message.as_bytes(), out);
    }
    if !fault.details.is_empty() {
        field(tag::FAULT_DETAILS, &fault.details, out);
    }
    if fault.is_permanent() {
        field(tag::FAULT_IS_PERMANENT, &[], out);
    }
}

/// Writes one field.
pub(super) fn field(tag: u8, value: &[u8], out: &mut impl Out) {
    out.put(&[tag]);
    length(value.len(), out);
    out.put(value);
}

/// Writes a length: seven bits a byte, the lowest first. The highest bit of a byte is set if
/// another one follows.
fn length(mut length: usize, out: &mut impl Out) {
    while length >= 0x80 {
        out.put(&[(length & 0x7F) as u8 | 0x80]);
        length >>= 7;
    }
    out.put(&[length as u8]);
}

/// Returns the number of bytes that encode a length.
fn length_size(len: usize) -> usize {
    let mut size = Size(0);
    length(len, &mut size);
    size.0
}

/// A destination of encoded bytes: the head, or a count of its size.
pub(super) trait Out {
    /// Appends bytes, or their number.
    fn put(&mut self, bytes: &[u8]);
}

/// A count of the bytes that are written.
struct Size(usize);

impl Out for Size {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

impl Out for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
