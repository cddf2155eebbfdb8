//! Decoding: from frames to a message. No input panics; every malformed one becomes an error that
//! names the cause and its position.
//!
//! Texts and the inline body share the buffer of the head. Details of a fault are copied, since
//! faults may outlive the message by far.

use std::ops::Range;

use bytes::Bytes;
use bytestring::ByteString;
use polywire_core::message::MessageId;
use polywire_core::{Address, Code, Error, ErrorKind, Fault, Limits, Message, Result};

use super::decode_failure::DecodeFailure;
use super::fixed_part::{length_in, malformed};
use super::frames::Frames;
use super::layout::{FIXED, head_max, tag};
use super::message_role::MessageRole;
use super::peek::{Kind, Peek};

/// Decodes a message.
///
/// # Errors
///
/// [`DecodeFailure`], with the call and the service as far as the envelope reveals them. Its error
/// is `TooLarge` for a message beyond the limits, and `Codec` otherwise.
pub(crate) fn decode(
    frames: Frames,
    limits: &Limits,
) -> Result<(MessageRole, Box<Message>), DecodeFailure> {
    let unknown = |error| DecodeFailure { call: None, service: None, error };
    let peek = Peek::read(&frames).map_err(unknown)?;
    decode_peeked(peek, frames, limits)
}

/// Decodes a message whose fixed part has been read.
///
/// The peek has to be of the same frames. Its deadline counts from the moment of the peek.
///
/// # Errors
///
/// Those of [`decode`].
pub(crate) fn decode_peeked(
    peek: Peek,
    frames: Frames,
    limits: &Limits,
) -> Result<(MessageRole, Box<Message>), DecodeFailure> {
    let mut service = None;
    // In the box that its delivery needs: a message is large.
    let mut message = Box::<Message>::default();
    if let Some(body) = frames.body {
        message.body = body;
    }
    message.id = peek.id;
    message.deadline = peek.deadline;
    message.idempotent = peek.idempotent;
    message.at_most_once = peek.at_most_once;
    let read = read_fields(frames.head, head_max(limits), &mut service, &mut message);
    match read.and_then(|()| within(limits, &message)).and_then(|()| role(peek.kind, &mut service))
    {
        Ok(role) => Ok((role, message)),
        Err(error) => Err(DecodeFailure { call: peek.id, service, error }),
    }
}

/// Returns the role of a kind of message. Takes the address out of `service` for the kinds that
/// have one.
///
/// Fails as `Codec` if such a message names no address.
fn role(kind: Kind, service: &mut Option<Address>) -> Result<MessageRole> {
    match kind {
        Kind::Reply => Ok(MessageRole::Reply),
        Kind::Refusal => Ok(MessageRole::Refusal),
        Kind::Event => Ok(MessageRole::Event),
        Kind::Loss => Ok(MessageRole::Loss),
        Kind::Leave => Ok(MessageRole::Leave),
        Kind::Job => service
            .take()
            .map(MessageRole::Job)
            .ok_or_else(|| malformed("cannot decode the envelope: the job names no queue", FIXED)),
        Kind::Cancel => service.take().map(MessageRole::Cancel).ok_or_else(|| {
            malformed("cannot decode the envelope: the cancel names no service", FIXED)
        }),
        Kind::Request => service.take().map(MessageRole::Request).ok_or_else(|| {
            malformed("cannot decode the envelope: the request names no service", FIXED)
        }),
    }
}

/// Reads the fields into `service` and `message`. What was read before an error stays there, so
/// that the error can be attributed to a call and a service.
///
/// Unknown fields are skipped, unless their tag marks them as critical. A header that occurs twice
/// keeps its last value.
///
/// # Errors
///
/// `TooLarge` if the envelope has more than `head_max` bytes, and `Codec` for a malformed field.
fn read_fields(
    head: Bytes,
    head_max: usize,
    service: &mut Option<Address>,
    message: &mut Message,
) -> Result<()> {
    if head.len() > head_max {
        return Err(too_large("envelope", head.len(), head_max));
    }
    let mut reader = Reader { head, at: FIXED };
    while let Some(field) = reader.field()? {
        let (tag, at) = (field.tag, field.at);
        match tag {
            tag::SERVICE => once(service, field.address(&reader)?, (tag, at))?,
            tag::METHOD => once(&mut message.method, field.address(&reader)?, (tag, at))?,
            tag::MESSAGE_ID => {
                once(&mut message.message_id, field.message_id(&reader)?, (tag, at))?;
            }
            tag::CONTENT_TYPE => once(&mut message.content_type, field.text(&reader)?, (tag, at))?,
            tag::HEADER => {
                let (name, value) = field.header(&reader)?;
                message.headers.insert(name, value);
            }
            tag::FAULT_CODE => {
                let fault = Fault::new(Code::from_u8(field.byte(&reader)?), "");
                once(&mut message.fault, Box::new(fault), (tag, at))?;
            }
            tag::FAULT_KIND | tag::FAULT_MESSAGE | tag::FAULT_DETAILS | tag::FAULT_IS_PERMANENT => {
                let Some(fault) = &mut message.fault else {
                    return Err(malformed(
                        "cannot decode the envelope: a detail of a fault comes before its code",
                        at,
                    ));
                };
                field.complete(fault, &reader)?;
            }
            tag::BODY if !message.body.is_empty() => {
                return Err(malformed(
                    "cannot decode the envelope: a body occurs in it and after it, or twice",
                    at,
                ));
            }
            tag::BODY => message.body = field.bytes(&reader).into(),
            unknown if unknown & tag::CRITICAL != 0 => {
                let error = malformed("cannot decode the envelope: unknown critical field", at);
                return Err(error.with("tag", unknown));
            }
            // A field of a newer version, not marked as critical.
            _ => {}
        }
    }
    Ok(())
}

/// A position in the envelope, which advances field by field.
struct Reader {
    /// The whole envelope. Values are slices of it.
    head: Bytes,
    /// The position of the next byte to read.
    at: usize,
}

/// A field, and its position in the envelope.
///
/// The value is a range: a slice would count another reference to the envelope, also of fields that
/// are skipped.
struct Field {
    /// The number of the field, one of [`tag`].
    tag: u8,
    /// The position of the tag, for errors.
    at: usize,
    /// The range of the value in the envelope, which contains it.
    value: Range<usize>,
}

impl Reader {
    /// Reads the next field. Returns `None` at the end of the envelope.
    fn field(&mut self) -> Result<Option<Field>> {
        let at = self.at;
        let Some(&tag) = self.head.get(at) else { return Ok(None) };
        self.at += 1;
        let length = self.length()?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.head.len());
        let end = end.ok_or_else(|| {
            malformed("cannot decode the envelope: a field is longer than the rest of it", at)
                .with("tag", tag)
        })?;
        let value = self.at..end;
        self.at = end;
        Ok(Some(Field { tag, at, value }))
    }

    fn length(&mut self) -> Result<usize> {
        let (length, size) = length_in(self.head.get(self.at..).unwrap_or_default(), self.at)?;
        self.at += size;
        Ok(length)
    }
}

impl Field {
    /// Returns the value, which shares the memory of the envelope.
    fn bytes(&self, reader: &Reader) -> Bytes {
        reader.head.slice(self.value.clone())
    }

    /// Returns the value for a look at it.
    fn as_slice<'a>(&self, reader: &'a Reader) -> &'a [u8] {
        // A field is read only if the envelope contains it.
        reader.head.get(self.value.clone()).unwrap_or_default()
    }

    /// Reads the whole value as UTF-8.
    fn text(&self, reader: &Reader) -> Result<ByteString> {
        ByteString::try_from(self.bytes(reader)).map_err(|_| {
            malformed("cannot decode the envelope: a text is not UTF-8", self.at)
                .with("tag", self.tag)
        })
    }

    /// Reads the whole value as an address, which is valid then.
    fn address(&self, reader: &Reader) -> Result<Address> {
        Address::from_bytes(self.bytes(reader)).map_err(|error| {
            malformed("cannot decode the envelope: a field holds no valid address", self.at)
                .with("tag", self.tag)
                .with_source(error)
        })
    }

    fn message_id(&self, reader: &Reader) -> Result<MessageId> {
        MessageId::new(self.text(reader)?).map_err(|error| {
            malformed("cannot decode the envelope: a field holds no valid message id", self.at)
                .with_source(error)
        })
    }

    /// Reads the code of a fault. Fails for a value of another length than 1.
    fn byte(&self, reader: &Reader) -> Result<u8> {
        match *self.as_slice(reader) {
            [byte] => Ok(byte),
            _ => Err(malformed(
                "cannot decode the envelope: the code of a fault is not one byte",
                self.at,
            )),
        }
    }

    /// Reads a name with a length in front, and the rest as the value.
    fn header(&self, reader: &Reader) -> Result<(ByteString, ByteString)> {
        let value = self.bytes(reader);
        let (length, size) = length_in(&value, self.at)?;
        if value.len() - size < length {
            return Err(malformed(
                "cannot decode the envelope: the name of a header is longer than the header",
                self.at,
            ));
        }
        let not_text = |_| malformed("cannot decode the envelope: a header is not UTF-8", self.at);
        let name = ByteString::try_from(value.slice(size..size + length)).map_err(not_text)?;
        let value = ByteString::try_from(value.slice(size + length..)).map_err(not_text)?;
        Ok((name, value))
    }

    /// Sets the part of a fault that the field holds. A later field of the same tag replaces the
    /// part.
    fn complete(&self, fault: &mut Fault, reader: &Reader) -> Result<()> {
        match self.tag {
            tag::FAULT_KIND => fault.kind = self.text(reader)?.into(),
            tag::FAULT_MESSAGE => fault.message = self.text(reader)?.into(),
            tag::FAULT_IS_PERMANENT => *fault = fault.clone().permanent(),
            // Copied, so that a retained fault does not retain the envelope.
            _ => fault.details = Bytes::copy_from_slice(self.as_slice(reader)),
        }
        Ok(())
    }
}

/// Sets a field that may occur only once. The tag and the position of the field are for the error.
fn once<T>(target: &mut Option<T>, value: T, (tag, at): (u8, usize)) -> Result<()> {
    match target.replace(value) {
        None => Ok(()),
        Some(_) => {
            Err(malformed("cannot decode the envelope: a field occurs twice", at).with("tag", tag))
        }
    }
}

/// Checks a decoded message against the limits.
fn within(limits: &Limits, message: &Message) -> Result<()> {
    limits.check(message).map_err(|error| {
        let [what, size, limit] =
            ["what", "size", "limit"].map(|key| error.detail(key).unwrap_or_default());
        too_large(what, size, limit)
    })
}

/// Returns the error of a part beyond its limit, with the part, its size and the limit as details.
fn too_large(what: &str, size: impl std::fmt::Display, limit: impl std::fmt::Display) -> Error {
    let error =
        Error::new(ErrorKind::TooLarge, "cannot decode the message: it is larger than the limit");
    error.with("what", what).with("size", size).with("limit", limit)
}
