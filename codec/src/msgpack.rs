//! MessagePack: compact, fast, and supported by most languages.

mod expectation;
mod nesting;

use std::{fmt, io};

use bytes::BytesMut;
use polywire_core::{Codec, Error, Result};
use rmp::Marker;
use rmp_serde::Serializer;
use rmp_serde::decode::{self, Deserializer, ReadRefReader};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer as _, Serialize};

use self::expectation::{Expectation, Recording};
use self::nesting::is_too_deep;
use crate::failure::{Cause, undecodable, unencodable, unended};
use crate::readable::{DEPTH_MAX, Demands, Readable};

/// Codec for MessagePack, through `rmp-serde`.
///
/// - A struct is encoded as a map with field names, so that either peer may add fields. A struct is
///   decoded from a map or an array.
/// - A value that is nested deeper than 127 levels can neither be encoded nor decoded. A variant
///   with content counts as a level.
/// - A value that announces another number of elements than it writes cannot be encoded.
/// - The format follows the
///   [specification](https://github.com/msgpack/msgpack/blob/master/spec.md),
///   with str 8 and bin.
///
/// Encoding and decoding fail with [`ErrorKind::Codec`](polywire_core::ErrorKind::Codec). The
/// details `type` and `path` of a decoding error name the type and the malformed part of the value;
/// the cause names what was expected there.
///
/// ```
/// use bytes::BytesMut;
/// use polywire_codec::MessagePack;
/// use polywire_core::Codec;
///
/// let mut buf = BytesMut::new();
/// MessagePack.encode(&(2, 3), &mut buf)?;
/// assert_eq!(&buf[..], b"\x92\x02\x03");
/// assert_eq!(MessagePack.decode::<(i64, i64)>(&buf)?, (2, 3));
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct MessagePack;

impl Codec for MessagePack {
    const CONTENT_TYPE: &'static str = "application/msgpack";

    fn encode<T: Serialize + ?Sized>(&self, value: &T, buf: &mut BytesMut) -> Result<()> {
        let mut packer = Serializer::new(Appending(buf)).with_struct_map();
        let readable = Readable::<_, Binary>::new(&mut packer);
        value.serialize(readable).map_err(|error| unencodable("MessagePack", error))
    }

    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T> {
        if is_too_deep(bytes) {
            let error = decode::Error::DepthLimitExceeded;
            return Err(undecodable::<T>("MessagePack", None, Cause::new(&error)));
        }
        let mut unpacker = unpacker(bytes);
        match T::deserialize(&mut unpacker) {
            Ok(value) if is_at_end(&mut unpacker) => Ok(value),
            Ok(_) => Err(unended::<T>("MessagePack")),
            Err(error) => Err(explain::<T>(bytes, error)),
        }
    }
}

/// A writer that appends to a buffer. The many short writes of the format are inlined here.
struct Appending<'b>(&'b mut BytesMut);

impl io::Write for Appending<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// MessagePack's own demands on a value.
///
/// The number of elements stands before the elements. After a wrong announcement, the decoder would
/// take the next value for an element, so `COUNTED` is set. Floating-point numbers travel as their
/// IEEE 754 bits, `NaN` included, so `FINITE` is not set.
struct Binary;

impl Demands for Binary {
    const FINITE: bool = false;
    const COUNTED: bool = true;
}

/// Decodes once more and builds an error with the path, the value found and the type expected.
///
/// Tracking costs time, so only the second pass does it. The second pass reads the same bytes
/// through the same deserializer, and allocates no more than the first. An error of the second
/// pass that differs from the first one is not the cause.
///
/// A mismatch of types gets a cause in the words of serde, by a third pass. The cause names the
/// marker that was found, and the latest expectation of a visitor. Any other cause keeps the text
/// of `rmp-serde`.
#[cold]
fn explain<'de, T: Deserialize<'de>>(bytes: &'de [u8], first: decode::Error) -> Error {
    let cause = Cause::new(&first);
    // Its text can be as long as the body.
    drop(first);
    let values = Expectation::default();
    match decode_tracked::<T>(bytes, &values) {
        Err(second) if Cause::new(second.inner()) == cause => {
            let named = match second.inner() {
                decode::Error::TypeMismatch(found) => mismatch::<T>(bytes, *found, values.count()),
                _ => None,
            };
            let cause = named.unwrap_or(cause);
            undecodable::<T>("MessagePack", Some(second.path()), cause)
        }
        _ => undecodable::<T>("MessagePack", None, cause),
    }
}

/// Decodes with the path of an error. The values are noted in `expectation`.
fn decode_tracked<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
    expectation: &Expectation,
) -> std::result::Result<T, serde_path_to_error::Error<decode::Error>> {
    let mut unpacker = unpacker(bytes);
    serde_path_to_error::deserialize(Recording::new(&mut unpacker, expectation))
}

/// Decodes up to the value with this number, where the marker `found` is a mismatch. Returns the
/// cause in the words of serde, or `None` if this pass fails in another way.
fn mismatch<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
    found: Marker,
    number: u64,
) -> Option<Cause> {
    let expectation = Expectation::of(number);
    let third = decode_tracked::<T>(bytes, &expectation).err()?;
    if !matches!(third.inner(), decode::Error::TypeMismatch(marker) if *marker == found) {
        return None;
    }
    let (found, expected) = (name(found), expectation.into_text());
    Some(Cause::new(&format_args!("invalid type: {found}, expected {expected}")))
}

/// Returns the name of a marker's type in the words of serde's errors.
///
/// The markers are those of the specification's section "Formats". Each marker without a name of
/// its own is an extension.
fn name(marker: Marker) -> &'static str {
    match marker {
        Marker::Null => "null",
        Marker::True | Marker::False => "boolean",
        Marker::FixPos(_)
        | Marker::FixNeg(_)
        | Marker::U8
        | Marker::U16
        | Marker::U32
        | Marker::U64
        | Marker::I8
        | Marker::I16
        | Marker::I32
        | Marker::I64 => "integer",
        Marker::F32 | Marker::F64 => "floating point",
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => "string",
        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => "byte array",
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => "sequence",
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => "map",
        Marker::Reserved => "reserved marker",
        _ => "extension",
    }
}

/// Returns a deserializer that reads `bytes`, and lends text and binary data without a copy.
///
/// Arrays and maps that are nested deeper than [`DEPTH_MAX`] levels fail as `DepthLimitExceeded`.
/// Variants do not count here; [`is_too_deep`] finds these before decoding.
fn unpacker(bytes: &[u8]) -> Deserializer<ReadRefReader<'_, [u8]>> {
    let mut unpacker = Deserializer::from_read_ref(bytes);
    // The unpacker fails at the limit, and not beyond it.
    unpacker.set_max_depth(usize::from(DEPTH_MAX) + 1);
    unpacker
}

/// Returns whether no data follows the value.
///
/// The unpacker does not report its position, but at the end it fails to read another marker. Any
/// other outcome means that data follows, a reserved marker included: a byte is there. The body of
/// a second value is never read.
fn is_at_end(unpacker: &mut Deserializer<ReadRefReader<'_, [u8]>>) -> bool {
    let next = unpacker.deserialize_option(AnyMarker);
    matches!(
        next,
        Err(decode::Error::InvalidMarkerRead(end)) if end.kind() == io::ErrorKind::UnexpectedEof
    )
}

/// A visitor that reads no more than the marker of a value.
///
/// `deserialize_option` decides by the marker alone, and so reads nothing beyond the marker: null
/// is `visit_none`, and each other marker is `visit_some`.
struct AnyMarker;

impl<'de> Visitor<'de> for AnyMarker {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a marker")
    }

    fn visit_none<E>(self) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, _: D) -> std::result::Result<(), D::Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use polywire_core::ErrorKind;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Item {
        name: String,
        #[serde(default)]
        price: f64,
    }

    fn encoded<T: Serialize>(value: &T) -> BytesMut {
        let mut buf = BytesMut::new();
        MessagePack.encode(value, &mut buf).unwrap();
        buf
    }

    fn error_of<T: for<'de> Deserialize<'de> + fmt::Debug>(bytes: &[u8]) -> String {
        let error = MessagePack.decode::<T>(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        format!("{error:?}")
    }

    #[test]
    fn structs_are_decoded_from_maps_and_arrays() {
        let item = Item { name: "pear".into(), price: 1.5 };
        assert_eq!(MessagePack.decode::<Item>(&encoded(&item)).unwrap(), item);
        assert_eq!(MessagePack.decode::<Item>(&encoded(&("pear", 1.5))).unwrap(), item);
        let without_price = encoded(&BTreeMap::from([("name", "pear")]));
        assert_eq!(MessagePack.decode::<Item>(&without_price).unwrap().price, 0.0);
    }

    #[test]
    fn errors_name_the_path_and_the_expected_type() {
        let bytes = encoded(&(7, [BTreeMap::from([("name", "pear"), ("price", "two")])]));
        let error = error_of::<(i64, Vec<Item>)>(&bytes);
        assert!(error.contains("[1][0].price"), "{error}");
        assert!(error.contains("expected f64"), "{error}");
    }

    #[test]
    fn trailing_and_missing_data_are_errors() {
        assert!(error_of::<u8>(b"\x01\x02").contains("data follows"));
        assert!(error_of::<u8>(b"\x01\xc1").contains("data follows"));
        error_of::<u8>(b"");
        error_of::<(u8, u8)>(b"\x92\x01");
        error_of::<String>(b"\xd9\xff");
        error_of::<Vec<u64>>(b"\xdd\xff\xff\xff\xff");
    }

    #[test]
    fn deep_nesting_is_an_error_and_does_not_overflow_the_stack() {
        #[derive(Debug, Deserialize)]
        struct Nested(#[allow(dead_code)] Vec<Nested>);
        error_of::<Nested>(&[0x91; 100_000]);
    }
}
