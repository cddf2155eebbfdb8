//! MessagePack values that stay encoded.
//!
//! The markers are those of the
//! [specification](https://github.com/msgpack/msgpack/blob/master/spec.md).

use bytes::BytesMut;
use rmp::Marker;

use super::shape::Shape;

/// Returns the kind of a value.
pub(super) fn shape(value: &[u8]) -> Shape {
    match value.first().map(|byte| Marker::from_u8(*byte)) {
        Some(Marker::FixArray(_) | Marker::Array16 | Marker::Array32) => Shape::List,
        Some(Marker::FixMap(_) | Marker::Map16 | Marker::Map32) => Shape::Map,
        Some(Marker::Null) => Shape::Null,
        _ => Shape::Plain,
    }
}

/// Takes a map apart whose keys are texts.
pub(super) fn entries(map: &[u8]) -> Option<Vec<(String, &[u8])>> {
    let mut rest = map;
    let count = match Marker::from_u8(byte(&mut rest)?) {
        Marker::FixMap(len) => u64::from(len),
        Marker::Map16 => number(&mut rest, 2)?,
        Marker::Map32 => number(&mut rest, 4)?,
        _ => return None,
    };
    // Grown by what is there: the announced number costs no memory.
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push((text(&mut rest)?, value(&mut rest)?));
    }
    rest.is_empty().then_some(entries)
}

/// Takes an array apart.
pub(super) fn elements(list: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = list;
    let count = match Marker::from_u8(byte(&mut rest)?) {
        Marker::FixArray(len) => u64::from(len),
        Marker::Array16 => number(&mut rest, 2)?,
        Marker::Array32 => number(&mut rest, 4)?,
        _ => return None,
    };
    let mut elements = Vec::new();
    for _ in 0..count {
        elements.push(value(&mut rest)?);
    }
    rest.is_empty().then_some(elements)
}

/// Writes a map.
pub(super) fn map(entries: &[(&str, &[u8])]) -> BytesMut {
    let mut bytes = Vec::new();
    // Writing to a vector does not fail.
    let _ = rmp::encode::write_map_len(&mut bytes, length(entries.len()));
    for (name, value) in entries {
        let _ = rmp::encode::write_str(&mut bytes, name);
        bytes.extend_from_slice(value);
    }
    BytesMut::from(&bytes[..])
}

/// Writes an array.
pub(super) fn list(elements: &[&[u8]]) -> BytesMut {
    let mut bytes = Vec::new();
    let _ = rmp::encode::write_array_len(&mut bytes, length(elements.len()));
    elements.iter().for_each(|value| bytes.extend_from_slice(value));
    BytesMut::from(&bytes[..])
}

/// Returns whether the bytes are one value.
pub(super) fn is_value(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    value(&mut rest).is_some() && rest.is_empty()
}

/// Converts a number of elements. A body of 4 GiB exceeds every limit.
fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Takes the first value off the bytes.
///
/// Counts the values that are still to come in place of a stack, so that nesting costs no memory.
fn value<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let whole = *rest;
    let mut left = 1_u64;
    while left > 0 {
        left -= 1;
        let inner = match Marker::from_u8(byte(rest)?) {
            Marker::FixArray(len) => u64::from(len),
            Marker::Array16 => number(rest, 2)?,
            Marker::Array32 => number(rest, 4)?,
            Marker::FixMap(len) => 2 * u64::from(len),
            Marker::Map16 => 2 * number(rest, 2)?,
            Marker::Map32 => 2 * number(rest, 4)?,
            // The only marker that the specification never uses.
            Marker::Reserved => return None,
            plain => {
                let length = usize::try_from(data_len(plain, rest)?).ok()?;
                *rest = rest.get(length..)?;
                0
            }
        };
        // Each value takes a byte at least, so a larger number cannot be true.
        left = left.checked_add(inner).filter(|left| *left <= rest.len() as u64)?;
    }
    whole.get(..whole.len() - rest.len())
}

/// Reads the length of the data after the marker of a plain value.
fn data_len(marker: Marker, rest: &mut &[u8]) -> Option<u64> {
    Some(match marker {
        Marker::U8 | Marker::I8 => 1,
        Marker::U16 | Marker::I16 => 2,
        Marker::U32 | Marker::I32 | Marker::F32 => 4,
        Marker::U64 | Marker::I64 | Marker::F64 => 8,
        Marker::FixStr(len) => len.into(),
        Marker::Str8 | Marker::Bin8 => number(rest, 1)?,
        Marker::Str16 | Marker::Bin16 => number(rest, 2)?,
        Marker::Str32 | Marker::Bin32 => number(rest, 4)?,
        // The type of an extension is a byte beside its data.
        Marker::FixExt1 => 2,
        Marker::FixExt2 => 3,
        Marker::FixExt4 => 5,
        Marker::FixExt8 => 9,
        Marker::FixExt16 => 17,
        Marker::Ext8 => number(rest, 1)? + 1,
        Marker::Ext16 => number(rest, 2)? + 1,
        Marker::Ext32 => number(rest, 4)? + 1,
        _ => 0,
    })
}

/// Takes a text off the bytes.
fn text(rest: &mut &[u8]) -> Option<String> {
    let marker = Marker::from_u8(byte(rest)?);
    if !matches!(marker, Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32) {
        return None;
    }
    let length = usize::try_from(data_len(marker, rest)?).ok()?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    String::from_utf8(text.to_vec()).ok()
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

/// Reads a big-endian number of up to 4 bytes.
fn number(rest: &mut &[u8], len: usize) -> Option<u64> {
    let (number, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn false_lengths_end_the_walk() {
        for bytes in [
            &b""[..],
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff\x01",
            b"\xc6\xff\xff\xff\xff\x01",
            b"\x92\x01",
            b"\xc1",
        ] {
            assert!(!is_value(bytes), "{bytes:x?}");
        }
        let deep = [&[0x91; 100_000][..], b"\xc0"].concat();
        assert!(is_value(&deep));
    }

    #[test]
    fn each_kind_of_value_has_its_length() {
        for bytes in [
            &b"\xcf12345678"[..],
            b"\xd9\x02ab",
            b"\xda\x00\x02ab",
            b"\xc4\x01a",
            b"\xd4\x05a",
            b"\xd8\x050123456789abcdef",
            b"\xc7\x02\x05ab",
            b"\xde\x00\x01\xa1k\xcb12345678",
        ] {
            assert!(is_value(bytes), "{bytes:x?}");
            assert!(!is_value(&bytes[..bytes.len() - 1]), "{bytes:x?}");
        }
    }
}
