//! The content header of a message: its class, the size of its body, and its properties.

use std::ops::Range;

use crate::connection::inbound::fields::{Fields, Malformed};
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

/// All properties in the order of their flags, with the cause if one is not UTF-8.
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

/// Flag of the header table.
const HEADERS: u16 = 1 << 13;
/// Flag of the property `type`, which names a method.
const METHOD: u16 = 1 << 5;
/// The class, the weight, and the size of the body.
pub(super) const CLASS_AND_SIZE: usize = 12;
/// The same and the flags.
const FIXED: usize = CLASS_AND_SIZE + 2;
