//! From frames to a message. Whatever the bytes are, it ends in a message or in a sentence about
//! them.

use bytes::Bytes;
use bytestring::ByteString;
use polywire_core::message::CallId;
use polywire_core::{Address, Code, Deadline, Error, ErrorKind, Fault, Limits, Message, Result};

use super::{FIXED, Kind, MAGIC, Peek, VERSION, flag, kind, tag};
use crate::wire::{Frames, Garbled, Role};

pub(super) fn message(
    frames: Frames,
    limits: &Limits,
    head_max: usize,
) -> Result<(Role, Message), Garbled> {
    let unknown = |error| Garbled { call: None, service: None, error };
    let fixed = Fixed::read(&frames.head).map_err(unknown)?;
    let mut service = None;
    let mut message = Message::new(frames.body.unwrap_or_default());
    message.id = fixed.id;
    message.deadline = fixed.deadline_ms.map(|ms| Deadline::after_ms(ms.into()));
    message.idempotent = fixed.idempotent;
    let read = read_fields(frames.head, head_max, &mut service, &mut message);
    match read.and_then(|()| within(limits, &message)).and_then(|()| role(fixed.kind, &mut service))
    {
        Ok(role) => Ok((role, message)),
        Err(error) => Err(Garbled { call: fixed.id, service, error }),
    }
}

/// What something that has an envelope is.
pub(super) fn peek(head: &[u8]) -> Option<Peek> {
    let Fixed { kind, id, deadline_ms, idempotent } = Fixed::read(head).ok()?;
    let kind = match kind {
        kind::REQUEST => Kind::Request,
        kind::REPLY => Kind::Reply,
        kind::REFUSAL => Kind::Refusal,
        kind::JOB => Kind::Job,
        kind::CANCEL => Kind::Cancel,
        kind::LOSS => Kind::Loss,
        _ => Kind::Event,
    };
    Some(Peek {
        kind,
        id,
        deadline: deadline_ms.map(|ms| Deadline::after_ms(ms.into())),
        idempotent,
    })
}

/// The code of the fault that something with an envelope holds, for who reads no more of it. What
/// comes before it is short.
pub(super) fn fault_code(head: &[u8]) -> Option<Code> {
    let mut at = FIXED;
    while let Some(&tag) = head.get(at) {
        let (length, size) = length_in(head.get(at + 1..)?, at + 1).ok()?;
        let value = at + 1 + size;
        if tag == tag::FAULT_CODE {
            return head.get(value).copied().map(Code::from_u8);
        }
        at = value + length;
    }
    None
}

fn role(kind: u8, service: &mut Option<Address>) -> Result<Role> {
    match kind {
        kind::REPLY => Ok(Role::Reply),
        kind::REFUSAL => Ok(Role::Refusal),
        kind::EVENT => Ok(Role::Event),
        kind::LOSS => Ok(Role::Loss),
        kind::JOB => {
            service.take().map(Role::Job).ok_or_else(|| malformed("the job names no queue", FIXED))
        }
        kind::CANCEL => service
            .take()
            .map(Role::Cancel)
            .ok_or_else(|| malformed("the cancel names no service", FIXED)),
        // There are no others.
        _ => service
            .take()
            .map(Role::Request)
            .ok_or_else(|| malformed("the request names no service", FIXED)),
    }
}

/// The part of the envelope that every version 1 has.
struct Fixed {
    kind: u8,
    id: Option<CallId>,
    deadline_ms: Option<u32>,
    idempotent: bool,
}

impl Fixed {
    fn read(head: &[u8]) -> Result<Self> {
        let Some((&[magic, version, kind, flags, ref numbers @ ..], _)) =
            head.split_first_chunk::<FIXED>()
        else {
            return Err(malformed("the envelope ends early", head.len()));
        };
        if magic != MAGIC {
            return Err(malformed("the envelope does not begin with 0x50", 0));
        }
        if version != VERSION {
            return Err(
                malformed("this version of the envelope is not known", 1).with("version", version)
            );
        }
        if !(kind::REQUEST..=kind::LOSS).contains(&kind) {
            return Err(malformed("this kind of message is not known", 2).with("kind", kind));
        }
        let &[a, b, c, d, e, f, g, h, ref deadline @ ..] = numbers;
        let (id, deadline_ms) =
            (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes(*deadline));
        Ok(Self {
            kind,
            id: (flags & flag::HAS_ID != 0).then_some(CallId(id)),
            deadline_ms: (flags & flag::HAS_DEADLINE != 0).then_some(deadline_ms),
            idempotent: flags & flag::IS_IDEMPOTENT != 0,
        })
    }
}

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
        match field.tag {
            tag::SERVICE => once(service, field.address()?, &field)?,
            tag::METHOD => once(&mut message.method, field.address()?, &field)?,
            tag::CONTENT_TYPE => once(&mut message.content_type, field.text()?, &field)?,
            tag::HEADER => {
                let (name, value) = field.header()?;
                message.headers.insert(name, value);
            }
            tag::FAULT_CODE => {
                let fault = Fault::new(Code::from_u8(field.byte()?), "");
                once(&mut message.fault, Box::new(fault), &field)?;
            }
            tag::FAULT_KIND | tag::FAULT_MESSAGE | tag::FAULT_DETAILS => {
                let Some(fault) = &mut message.fault else {
                    return Err(malformed("a detail of a fault stands before its code", field.at));
                };
                field.complete(fault)?;
            }
            tag::BODY if !message.body.is_empty() => {
                return Err(malformed(
                    "a body stands in the envelope and after it, or twice",
                    field.at,
                ));
            }
            tag::BODY => message.body = field.value.into(),
            unknown if unknown & tag::CRITICAL != 0 => {
                let error = malformed("a field that must be understood is not known", field.at);
                return Err(error.with("tag", unknown));
            }
            // From a newer peer, which can do without our knowing it.
            _ => {}
        }
    }
    Ok(())
}

struct Reader {
    head: Bytes,
    at: usize,
}

/// A field, and where in the envelope it begins.
struct Field {
    tag: u8,
    at: usize,
    value: Bytes,
}

impl Reader {
    fn field(&mut self) -> Result<Option<Field>> {
        let at = self.at;
        let Some(&tag) = self.head.get(at) else { return Ok(None) };
        self.at += 1;
        let length = self.length()?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.head.len());
        let end = end
            .ok_or_else(|| malformed("a field is longer than the envelope", at).with("tag", tag))?;
        let value = self.head.slice(self.at..end);
        self.at = end;
        Ok(Some(Field { tag, at, value }))
    }

    fn length(&mut self) -> Result<usize> {
        let (length, size) = length_in(self.head.get(self.at..).unwrap_or_default(), self.at)?;
        self.at += size;
        Ok(length)
    }
}

/// The length that `bytes` begin with, and how many of them it takes.
fn length_in(bytes: &[u8], at: usize) -> Result<(usize, usize)> {
    let mut length = 0;
    // Four bytes reach to 256 MiB, far beyond any envelope.
    for (i, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((length, i + 1));
        }
    }
    Err(malformed(
        if bytes.len() < 4 { "a length ends early" } else { "a length is longer than 4 bytes" },
        at,
    ))
}

impl Field {
    fn text(&self) -> Result<ByteString> {
        ByteString::try_from(self.value.clone())
            .map_err(|_| malformed("a text is not UTF-8", self.at).with("tag", self.tag))
    }

    fn address(&self) -> Result<Address> {
        Address::from_bytes(self.value.clone()).map_err(|error| {
            malformed("a field holds no address", self.at).with("tag", self.tag).with_source(error)
        })
    }

    fn byte(&self) -> Result<u8> {
        match *self.value {
            [byte] => Ok(byte),
            _ => Err(malformed("the code of a fault is not one byte", self.at)),
        }
    }

    fn header(&self) -> Result<(ByteString, ByteString)> {
        let (length, size) = length_in(&self.value, self.at)?;
        if self.value.len() - size < length {
            return Err(malformed("the name of a header is longer than the header", self.at));
        }
        let not_text = |_| malformed("a header is not UTF-8", self.at);
        let name = ByteString::try_from(self.value.slice(size..size + length)).map_err(not_text)?;
        let value = ByteString::try_from(self.value.slice(size + length..)).map_err(not_text)?;
        Ok((name, value))
    }

    fn complete(&self, fault: &mut Fault) -> Result<()> {
        match self.tag {
            tag::FAULT_KIND => fault.kind = self.text()?.into(),
            tag::FAULT_MESSAGE => fault.message = self.text()?.into(),
            // Copied, so that a fault that is kept does not keep the envelope.
            _ => fault.details = Bytes::copy_from_slice(&self.value),
        }
        Ok(())
    }
}

/// Sets what may stand only once.
fn once<T>(place: &mut Option<T>, value: T, field: &Field) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(malformed("a field stands twice", field.at).with("tag", field.tag)),
    }
}

fn within(limits: &Limits, message: &Message) -> Result<()> {
    limits.check(message).map_err(|error| {
        let [what, size, limit] =
            ["what", "size", "limit"].map(|key| error.detail(key).unwrap_or_default());
        too_large(what, size, limit)
    })
}

fn too_large(what: &str, size: impl std::fmt::Display, limit: impl std::fmt::Display) -> Error {
    let error = Error::new(ErrorKind::TooLarge, "the message that came is larger than the limit");
    error.with("what", what).with("size", size).with("limit", limit)
}

fn malformed(what: &'static str, at: usize) -> Error {
    Error::new(ErrorKind::Codec, what).with("byte", at)
}
