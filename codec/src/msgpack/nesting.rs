//! The nesting of an encoded value.
//!
//! `rmp-serde` counts arrays and maps, and not the variants of enums: a body of nested variants
//! would exhaust the stack.
//!
//! A variant with content is a map of one entry, so counting arrays and maps in the bytes counts
//! variants, too. The markers are those of the
//! [specification](https://github.com/msgpack/msgpack/blob/master/spec.md).

use rmp::Marker;

use crate::readable::DEPTH_MAX;

/// Returns `true` if a value is nested deeper than [`DEPTH_MAX`] levels. Malformed bytes are left
/// to the decoder.
///
/// A body that has few bytes of the markers of arrays and maps cannot be nested deep. Only other
/// bodies are walked through, without an allocation.
///
/// The time is linear in the number of bytes. Only the first value counts: data after that is an
/// error of its own.
pub(super) fn is_too_deep(bytes: &[u8]) -> bool {
    let depth_max = usize::from(DEPTH_MAX);
    bytes.len() > depth_max
        && bytes.iter().filter(|byte| may_open(**byte)).count() > depth_max
        && walk(bytes).unwrap_or_default()
}

/// Returns `true` for each byte that is a marker of an array or a map, or an equal byte of data.
///
/// The ranges are fixmap and fixarray, then array 16, array 32, map 16 and map 32.
fn may_open(byte: u8) -> bool {
    matches!(byte, 0x80..=0x9f | 0xdc..=0xdf)
}

/// Walks through the first value, and returns true at the first level beyond [`DEPTH_MAX`].
///
/// Returns nothing if the bytes end within the value, which the decoder reports. The stack of open
/// values is an array of 1 KiB: an announced number of elements costs no memory, however large it
/// is.
fn walk(mut bytes: &[u8]) -> Option<bool> {
    // Number of values that are left in each open array or map; the first is that of the value.
    let mut left = [0_u64; DEPTH_MAX as usize + 1];
    left[0] = 1;
    let mut depth = 0;
    loop {
        while left[depth] == 0 {
            match depth.checked_sub(1) {
                Some(outer) => depth = outer,
                None => return Some(false),
            }
        }
        left[depth] -= 1;
        let values = match Marker::from_u8(number(&mut bytes, 1)? as u8) {
            Marker::FixArray(len) => u64::from(len),
            Marker::Array16 => number(&mut bytes, 2)?,
            Marker::Array32 => number(&mut bytes, 4)?,
            Marker::FixMap(len) => 2 * u64::from(len),
            Marker::Map16 => 2 * number(&mut bytes, 2)?,
            Marker::Map32 => 2 * number(&mut bytes, 4)?,
            plain => {
                let data = data_len(plain, &mut bytes)?;
                bytes = bytes.get(usize::try_from(data).ok()?..)?;
                continue;
            }
        };
        depth += 1;
        match left.get_mut(depth) {
            Some(inner) => *inner = values,
            None => return Some(true),
        }
    }
}

/// Reads the length of the data after the marker of a plain value.
///
/// Consumes the bytes of the length where the format has one. Values that consist of their marker
/// have no data. Returns nothing if the bytes end within the length.
fn data_len(marker: Marker, bytes: &mut &[u8]) -> Option<u64> {
    Some(match marker {
        Marker::U8 | Marker::I8 => 1,
        Marker::U16 | Marker::I16 => 2,
        Marker::U32 | Marker::I32 | Marker::F32 => 4,
        Marker::U64 | Marker::I64 | Marker::F64 => 8,
        Marker::FixStr(len) => len.into(),
        Marker::Str8 | Marker::Bin8 => number(bytes, 1)?,
        Marker::Str16 | Marker::Bin16 => number(bytes, 2)?,
        Marker::Str32 | Marker::Bin32 => number(bytes, 4)?,
        // An extension has one byte for its type.
        Marker::FixExt1 => 2,
        Marker::FixExt2 => 3,
        Marker::FixExt4 => 5,
        Marker::FixExt8 => 9,
        Marker::FixExt16 => 17,
        Marker::Ext8 => number(bytes, 1)? + 1,
        Marker::Ext16 => number(bytes, 2)? + 1,
        Marker::Ext32 => number(bytes, 4)? + 1,
        _ => 0,
    })
}

/// Reads a big-endian number of up to 4 bytes.
///
/// Consumes the bytes of the number. Returns nothing, and consumes nothing, if fewer than `len`
/// bytes are left.
fn number(bytes: &mut &[u8], len: usize) -> Option<u64> {
    let (number, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted_through_each_kind_of_value() {
        for level in [
            &b"\x91"[..],
            b"\x81\xa1x",
            b"\xdc\x00\x01",
            b"\xdd\x00\x00\x00\x01",
            b"\xde\x00\x01\xc4\x02\x91\x91",
            b"\xdf\x00\x00\x00\x01\xd4\x91\x91",
            b"\x93\xcb\x91\x91\x91\x91\x91\x91\x91\x91\xd9\x01\x91",
        ] {
            for (levels, too_deep) in [(127, false), (128, true), (100_000, true)] {
                let bytes = [&level.repeat(levels)[..], b"\xc0"].concat();
                assert_eq!(is_too_deep(&bytes), too_deep, "{level:x?}, {levels} times");
            }
        }
    }

    #[test]
    fn empty_values_are_a_level_of_their_own() {
        for (levels, too_deep) in [(126, false), (127, true)] {
            let bytes = [&b"\x93\x90\x80".repeat(levels)[..], b"\xc0"].concat();
            assert_eq!(is_too_deep(&bytes), too_deep, "{levels} times");
        }
    }

    #[test]
    fn wide_and_malformed_values_are_not_deep() {
        assert!(!is_too_deep(&[&b"\xdc\x01\x00"[..], &[0x90; 256]].concat()));
        assert!(!is_too_deep(&[&b"\xc5\x01\x00"[..], &[0x91; 256]].concat()));
        assert!(!is_too_deep(&[&b"\xc6\xff\xff\xff\xff"[..], &[0x91; 256]].concat()));
        assert!(!is_too_deep(&[&b"\xdd\xff\xff\xff\xff"[..], &[0x90; 256]].concat()));
        assert!(!is_too_deep(&[]));
    }
}
