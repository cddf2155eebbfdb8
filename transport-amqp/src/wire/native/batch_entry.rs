//! The layout of one call or reply in a batch.
//!
//! Numbers are big-endian. An entry has flags in one byte, then the correlation id, then the parts
//! that the flags announce, then the body up to its end:
//!
//! | flag | part |
//! |---|---|
//! | 1 | the method: a short text |
//! | 2 | the content type: a short text |
//! | 4 | the message id of the caller: a short text |
//! | 8 | four bytes: the milliseconds by which the deadline is earlier than that of the batch |
//! | 16 | the headers: their number in one byte, then for each a short text and a long text |
//! | 32 | the fault: its code as a short text; kind, message and details as long texts |
//! | 64 | none: the fault is permanent |
//!
//! A short text has its length in one byte in front, a long text in two.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use polywire_core::message::MessageId;
use polywire_core::{Address, Code, Deadline, Fault, Message, Result};

use super::headers::{is_of_users, undecodable};

/// Mark of an entry with a method.
const METHOD: u8 = 1;
const CONTENT_TYPE: u8 = 2;
const MESSAGE_ID: u8 = 4;
const EARLIER: u8 = 8;
const HEADERS: u8 = 16;
const FAULT: u8 = 32;
const PERMANENT: u8 = 64;
/// Marks of later versions.
const UNKNOWN: u8 = 128;

/// Returns the size of the entry of a message in bytes, at most; `None` for a message that has to
/// leave alone, since an entry has no place for a part of it.
pub(crate) fn entry_len(message: &Message) -> Option<usize> {
    let Message { method, content_type, message_id, headers, fault, body, .. } = message;
    let mut len = FIXED_MAX + body.len();
    let method = method.as_ref().map(|method| method.as_str().len());
    let message_id = message_id.as_ref().map(|id| id.as_str().len());
    for text in [method, content_type.as_ref().map(|text| text.len()), message_id] {
        len += 1 + text.unwrap_or(0);
        if text.is_some_and(|text| text > SHORT_MAX) {
            return None;
        }
    }
    if headers.len() > SHORT_MAX {
        return None;
    }
    for (name, value) in headers.iter() {
        // The error about a name that is reserved comes from the encoding of a single message.
        if name.len() > SHORT_MAX || value.len() > LONG_MAX || !is_of_users(name) {
            return None;
        }
        len += 3 + name.len() + value.len();
    }
    if let Some(fault) = fault {
        let texts = [fault.kind.len(), fault.message.len(), fault.details.len()];
        if texts.iter().any(|text| *text > LONG_MAX) {
            return None;
        }
        len += FAULT_FIXED_MAX + texts.iter().sum::<usize>();
    }
    Some(len)
}

/// Adds the entry of a message, which must have an [`entry_len`]. The correlation id has at most
/// 255 bytes.
///
/// The deadline of the message is at most that of the batch.
pub(super) fn write(
    entries: &mut BytesMut,
    correlation_id: &str,
    message: &Message,
    of_batch: Option<Deadline>,
) {
    let Message { method, content_type, message_id, headers, fault, body, .. } = message;
    let earlier = match (of_batch, message.deadline) {
        (Some(latest), Some(deadline)) => {
            latest.instant().saturating_duration_since(deadline.instant()).as_millis()
        }
        _ => 0,
    };
    let mark = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    entries.put_u8(
        mark(method.is_some(), METHOD)
            | mark(content_type.is_some(), CONTENT_TYPE)
            | mark(message_id.is_some(), MESSAGE_ID)
            | mark(earlier > 0, EARLIER)
            | mark(!headers.is_empty(), HEADERS)
            | mark(fault.is_some(), FAULT)
            | mark(fault.as_ref().is_some_and(|fault| fault.is_permanent()), PERMANENT),
    );
    put_short(entries, correlation_id);
    if let Some(method) = method {
        put_short(entries, method.as_str());
    }
    if let Some(content_type) = content_type {
        put_short(entries, content_type);
    }
    if let Some(message_id) = message_id {
        put_short(entries, message_id.as_str());
    }
    if earlier > 0 {
        entries.put_u32(u32::try_from(earlier).unwrap_or(u32::MAX));
    }
    if !headers.is_empty() {
        entries.put_u8(u8::try_from(headers.len()).unwrap_or(u8::MAX));
        for (name, value) in headers.iter() {
            put_short(entries, name);
            put_long(entries, value.as_bytes());
        }
    }
    if let Some(fault) = fault {
        put_short(entries, fault.code.as_str());
        put_long(entries, fault.kind.as_bytes());
        put_long(entries, fault.message.as_bytes());
        put_long(entries, &fault.details);
    }
    body.frames().for_each(|frame| entries.put_slice(frame));
}

/// Takes the correlation id off an entry. `None` if the entry does not reach so far.
///
/// Returns the flags, too. The rest of the entry is for [`read`].
pub(super) fn take_correlation_id(entry: &mut Bytes) -> Option<(u8, ByteString)> {
    let flags = entry.try_get_u8().ok()?;
    Some((flags, short(entry)?))
}

/// Reads the parts behind the correlation id into a message. The body shares the memory of the
/// entry.
///
/// # Errors
///
/// [`Codec`](polywire_core::ErrorKind::Codec) for a malformed entry. The message has the parts that
/// were read before.
pub(super) fn read(
    flags: u8,
    mut entry: Bytes,
    of_batch: Option<Deadline>,
    message: &mut Message,
) -> Result<()> {
    if flags & UNKNOWN != 0 {
        return Err(undecodable("its entry in a batch has unknown parts"));
    }
    let cut = || undecodable("its entry in a batch is cut");
    if flags & METHOD != 0 {
        message.method = Some(Address::new(short(&mut entry).ok_or_else(cut)?)?);
    }
    if flags & CONTENT_TYPE != 0 {
        message.content_type = Some(short(&mut entry).ok_or_else(cut)?);
    }
    if flags & MESSAGE_ID != 0 {
        message.message_id = MessageId::new(short(&mut entry).ok_or_else(cut)?).ok();
    }
    let mut earlier = Duration::ZERO;
    if flags & EARLIER != 0 {
        let ms = entry.try_get_u32().map_err(|_| cut())?;
        earlier = Duration::from_millis(ms.into());
    }
    message.deadline = of_batch.map(|deadline| deadline.earlier_by(earlier));
    if flags & HEADERS != 0 {
        for _ in 0..entry.try_get_u8().map_err(|_| cut())? {
            let name = short(&mut entry).ok_or_else(cut)?;
            let value = ByteString::try_from(long(&mut entry).ok_or_else(cut)?);
            let value = value.map_err(|_| undecodable("a header is not UTF-8"))?;
            // As of a single message, what other programs write under reserved names is skipped.
            if is_of_users(&name) {
                message.headers.insert(name, value);
            }
        }
    }
    if flags & FAULT != 0 {
        let code = Code::from_name(&short(&mut entry).ok_or_else(cut)?);
        let mut text = || {
            let text = long(&mut entry).ok_or_else(cut)?;
            String::from_utf8(text.into()).map_err(|_| undecodable("its fault is not UTF-8"))
        };
        let (kind, text) = (text()?, text()?);
        let details = long(&mut entry).ok_or_else(cut)?;
        let fault = Fault::new(code, text).with_kind(kind).with_details(details);
        let is_permanent = flags & PERMANENT != 0;
        message.fault = Some(Box::new(if is_permanent { fault.permanent() } else { fault }));
    }
    message.body = entry.into();
    Ok(())
}

fn put_short(entries: &mut BytesMut, text: &str) {
    let text = &text[..text.floor_char_boundary(SHORT_MAX)];
    entries.put_u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
    entries.put_slice(text.as_bytes());
}

fn put_long(entries: &mut BytesMut, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(LONG_MAX)];
    entries.put_u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
    entries.put_slice(bytes);
}

/// Takes a short text; `None` if it is cut or not UTF-8.
fn short(entry: &mut Bytes) -> Option<ByteString> {
    let len = usize::from(entry.try_get_u8().ok()?);
    (entry.len() >= len).then(|| entry.split_to(len)).and_then(|text| text.try_into().ok())
}

/// Takes a long text; `None` if it is cut.
fn long(entry: &mut Bytes) -> Option<Bytes> {
    let len = usize::from(entry.try_get_u16().ok()?);
    (entry.len() >= len).then(|| entry.split_to(len))
}

/// The largest short text in bytes, and the largest number of headers.
const SHORT_MAX: usize = u8::MAX as usize;
/// The largest long text in bytes.
const LONG_MAX: usize = u16::MAX as usize;
/// Bytes of the length of an entry, the flags, a correlation id of two numbers, the deadline and
/// the number of headers.
const FIXED_MAX: usize = 4 + 1 + 1 + 41 + 4 + 1;
/// Bytes of the longest code, and of the lengths of all texts of a fault.
const FAULT_FIXED_MAX: usize = 1 + 24 + 3 * 2;
