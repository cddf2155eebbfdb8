//! The content header of a message: its class, the size of its body, and its properties.

use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

use crate::connection::inbound_filter::fields::{Fields, Malformed};
use crate::wire::native::MALFORMED;

/// Checks the payload of a content header. Returns another payload if the engine could not parse
/// this one, or if the method before the header was malformed, for the reason in `method`.
///
/// The other payload keeps all properties up to the first one that is truncated, and all headers up
/// to the first one that is malformed. Properties that are not UTF-8 are left out, except for the
/// name of the method, in which `?` replaces the bytes that are not UTF-8, as in names of headers.
/// The header [`MALFORMED`] holds the cause, by which the decoder knows the message as undecodable.
pub(super) fn check(payload: &mut [u8], method: Option<&'static str>) -> Option<Vec<u8>> {
    if payload.len() < FIXED {
        // The broker writes no such header. The engine reports it.
        return None;
    }
    let properties = Properties::walk(payload);
    let cause = method.or(properties.cause)?;
    let mut rewritten = payload[..CLASS_AND_SIZE].to_vec();
    let flags = properties.flags & !(properties.replaced & !METHOD);
    rewritten.extend((flags | HEADERS).to_be_bytes());
    for (index, range) in properties.ranges.into_iter().enumerate() {
        match 1 << (15 - index) {
            HEADERS => push_headers(&mut rewritten, &payload[properties.entries.clone()], cause),
            flag if flags & flag != 0 => rewritten.extend(&payload[range]),
            _ => {}
        }
    }
    Some(rewritten)
}

/// Returns the payload of a content header that does not fit into a frame: without properties, but
/// with the cause. `start` is the beginning of the payload, of [`CLASS_AND_SIZE`] bytes.
pub(super) fn too_large(start: &[u8]) -> Vec<u8> {
    let mut rewritten = start.to_vec();
    rewritten.extend(HEADERS.to_be_bytes());
    push_headers(&mut rewritten, &[], "its headers do not fit into a frame");
    rewritten
}

/// Returns another payload in place of one at which the engine failed for an unknown reason.
///
/// No header is kept. `keeps_texts` keeps the texts in ASCII and the properties of fixed size, so
/// that a request can be answered.
///
/// The result is complete even if the payload is truncated: missing bytes of the class and the size
/// are zero.
pub(super) fn replaced(payload: &[u8], cause: &str, keeps_texts: bool) -> Vec<u8> {
    let mut rewritten = payload[..payload.len().min(CLASS_AND_SIZE)].to_vec();
    rewritten.resize(CLASS_AND_SIZE, 0);
    let mut copy = payload.to_vec();
    let (flags, ranges) = match keeps_texts && payload.len() >= FIXED {
        true => {
            let Properties { flags, ranges, .. } = Properties::walk(&mut copy);
            (flags & !HEADERS, ranges)
        }
        false => (0, std::array::from_fn(|_| 0..0)),
    };
    let is_kept = |(index, (range, (kind, _))): (usize, (&Range<usize>, &(Kind, &str)))| {
        let is_plain = match kind {
            // The first byte is the length.
            Kind::Text => payload.get(range.start + 1..range.end).is_some_and(<[u8]>::is_ascii),
            Kind::Fixed(_) => true,
            Kind::Table => false,
        };
        let flag = 1 << (15 - index);
        if is_plain { flags & flag } else { 0 }
    };
    let kept: u16 = ranges.iter().zip(&PROPERTIES).enumerate().map(is_kept).sum();
    rewritten.extend((kept | HEADERS).to_be_bytes());
    for (index, range) in ranges.into_iter().enumerate() {
        match 1 << (15 - index) {
            HEADERS => push_headers(&mut rewritten, &[], cause),
            flag if kept & flag != 0 => rewritten.extend(&payload[range]),
            _ => {}
        }
    }
    rewritten
}

/// Returns the id by which a publisher knows its returned message: the correlation id of a request,
/// and else the message id. Allocates.
pub(super) fn id(payload: &[u8]) -> Option<String> {
    if payload.len() < FIXED {
        return None;
    }
    let mut copy = payload.to_vec();
    let Properties { flags, ranges, .. } = Properties::walk(&mut copy);
    let id = match flags & REPLY_TO != 0 && flags & CORRELATION_ID != 0 {
        true => CORRELATION_ID,
        false => MESSAGE_ID,
    };
    let range = ranges.get(usize::try_from(id.leading_zeros()).ok()?)?;
    // The first byte is the length.
    let text = copy.get(range.start + 1..range.end).filter(|_| flags & id != 0)?;
    Some(std::str::from_utf8(text).ok()?.to_owned())
}

/// Returns the size of the body that follows.
pub(super) fn body_size(payload: &[u8]) -> u64 {
    let size = payload.get(BODY_SIZE).and_then(<[u8]>::first_chunk);
    size.map_or(0, |size| u64::from_be_bytes(*size))
}

/// Returns a number that a message keeps when the broker redelivers it: the hash of the payload
/// without the counts that a quorum queue adds. Allocates.
pub(super) fn fingerprint(payload: &[u8]) -> u64 {
    if payload.len() < FIXED {
        return hash(payload);
    }
    let mut copy = payload.to_vec();
    let entries = Properties::walk(&mut copy).entries;
    let flags = u16::from_be_bytes([payload[CLASS_AND_SIZE], payload[CLASS_AND_SIZE + 1]]);
    // A first count adds the table, and each count changes its length.
    let before = entries.start.saturating_sub(TABLE_LENGTH).max(FIXED);
    let after = entries.end.max(before);
    let mut rest = payload[..CLASS_AND_SIZE].to_vec();
    rest.extend((flags & !HEADERS).to_be_bytes());
    rest.extend(&payload[FIXED..before]);
    rest.extend(&payload[after..]);
    let mut sum = hash(&rest);
    let mut fields = Fields::new(&mut copy[..entries.end]);
    if fields.skip(entries.start).is_err() {
        return sum;
    }
    // In any order: the broker may add a count at either end.
    while fields.at() < entries.end {
        let start = fields.at();
        if fields.entry(entries.end, 0).is_err() {
            break;
        }
        let entry = &payload[start..fields.at()];
        if !COUNTS.iter().any(|name| entry[1..].starts_with(name.as_bytes())) {
            sum = sum.wrapping_add(hash(entry));
        }
    }
    sum
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Adds a header table: these entries, and the cause.
fn push_headers(payload: &mut Vec<u8>, entries: &[u8], cause: &str) {
    let mut marker = text(MALFORMED);
    marker.push(b'S');
    marker.extend(length(cause.len()));
    marker.extend(cause.as_bytes());
    payload.extend(length(entries.len() + marker.len()));
    payload.extend(entries);
    payload.extend(marker);
}

/// Encodes a short string of our own.
fn text(text: &str) -> Vec<u8> {
    let mut encoded = vec![u8::try_from(text.len()).unwrap_or(u8::MAX)];
    encoded.extend(text.as_bytes());
    encoded
}

/// Encodes a length. No frame is larger than 4 GiB.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// The properties of a content header, after a walk that made its texts UTF-8.
struct Properties {
    /// Flags of the properties that are complete.
    flags: u16,
    /// Flags of the properties that were not UTF-8.
    replaced: u16,
    /// The bytes of each property.
    ranges: [Range<usize>; 14],
    /// The well-formed entries of the header table.
    entries: Range<usize>,
    /// The first fault.
    cause: Option<&'static str>,
}

impl Properties {
    /// Walks over the properties, and replaces bytes that are not UTF-8 in place.
    ///
    /// The payload has at least `FIXED` bytes. The walk ends at the first property that is
    /// truncated; the flags of the result leave out that property and all later ones.
    fn walk(payload: &mut [u8]) -> Self {
        let flags = u16::from_be_bytes([payload[CLASS_AND_SIZE], payload[CLASS_AND_SIZE + 1]]);
        let mut fields = Fields::new(payload);
        let ranges = std::array::from_fn(|_| 0..0);
        let mut walked = Self { flags: 0, replaced: 0, ranges, entries: 0..0, cause: None };
        if fields.skip(FIXED).is_err() {
            return walked;
        }
        for (index, (kind, not_utf8)) in PROPERTIES.iter().enumerate() {
            let (flag, start) = (1 << (15 - index), fields.at());
            if flags & flag == 0 {
                continue;
            }
            let done = match kind {
                Kind::Text => fields.text(),
                Kind::Fixed(size) => fields.skip(*size),
                Kind::Table => fields.table().map(|table| {
                    walked.entries = table.entries;
                    walked.cause = walked.cause.or(table.malformed.map(cause_of_table));
                }),
            };
            if done.is_err() {
                walked.cause = walked.cause.or(Some("its properties are truncated"));
                return walked;
            }
            if std::mem::take(&mut fields.is_replaced) {
                walked.replaced |= flag;
                walked.cause = walked.cause.or(Some(not_utf8));
            }
            walked.flags |= flag;
            walked.ranges[index] = start..fields.at();
        }
        if fields.at() != fields.len() {
            walked.cause = walked.cause.or(Some("its properties have a further part"));
        }
        walked
    }
}

/// Names the fault of a header table.
fn cause_of_table(malformed: Malformed) -> &'static str {
    match malformed {
        Malformed::Truncated => "a header is truncated",
        Malformed::UnknownType => "a header has an unknown type",
        Malformed::TooDeep => "its headers are nested too deeply",
    }
}

/// The form of a property.
enum Kind {
    Text,
    Table,
    Fixed(usize),
}

/// All properties in the order of their flags, with the cause if one is not UTF-8. The order is
/// that of the class `basic` in AMQP 0-9-1, where the first property has the highest bit.
const PROPERTIES: [(Kind, &str); 14] = [
    (Kind::Text, "its property `content_type` is not UTF-8"),
    (Kind::Text, "its property `content_encoding` is not UTF-8"),
    (Kind::Table, "the name of a header is not UTF-8"),
    (Kind::Fixed(1), ""),
    (Kind::Fixed(1), ""),
    (Kind::Text, "its property `correlation_id` is not UTF-8"),
    (Kind::Text, "its property `reply_to` is not UTF-8"),
    (Kind::Text, "its property `expiration` is not UTF-8"),
    (Kind::Text, "its property `message_id` is not UTF-8"),
    (Kind::Fixed(8), ""),
    (Kind::Text, "its property `type` is not UTF-8"),
    (Kind::Text, "its property `user_id` is not UTF-8"),
    (Kind::Text, "its property `app_id` is not UTF-8"),
    (Kind::Text, "its property `cluster_id` is not UTF-8"),
];

/// Headers in which a quorum queue counts deliveries.
const COUNTS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];
/// Bytes of the length of a table.
const TABLE_LENGTH: usize = 4;
/// Flag of the header table.
const HEADERS: u16 = 1 << 13;
/// Flag of the property `correlation_id`.
const CORRELATION_ID: u16 = 1 << 10;
/// Flag of the property `reply_to`.
const REPLY_TO: u16 = 1 << 9;
/// Flag of the property `message_id`.
const MESSAGE_ID: u16 = 1 << 7;
/// Flag of the property `type`, which names a method.
const METHOD: u16 = 1 << 5;
/// The place of the size of the body.
const BODY_SIZE: Range<usize> = 4..12;
/// The class, the weight, and the size of the body.
pub(super) const CLASS_AND_SIZE: usize = 12;
/// The same and the flags.
const FIXED: usize = CLASS_AND_SIZE + 2;
