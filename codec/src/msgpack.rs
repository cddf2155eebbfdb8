//! MessagePack: compact, fast, and supported by most languages.

mod expectation;

use std::error::Error as StdError;
use std::{fmt, io};

use bytes::{BufMut, BytesMut};
use polywire_core::{Codec, Error, ErrorKind, Result};
use rmp::Marker;
use rmp_serde::Serializer;
use rmp_serde::decode::{self, Deserializer, ReadRefReader};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use self::expectation::{Expectation, Recording};
use crate::failure::{undecodable, unencodable};

/// Codec for MessagePack, through `rmp-serde`.
///
/// - A struct is encoded as a map with field names, so that either peer may add fields. A struct is
///   decoded from a map or an array.
/// - A value that is nested deeper than 128 levels cannot be decoded.
/// - The format follows the
///   [specification](https://github.com/msgpack/msgpack/blob/master/spec.md),
///   with str 8 and bin.
///
/// Encoding and decoding fail with [`ErrorKind::Codec`]. The detail `path` of a decoding error
/// names the malformed part of the value, and the source of the error names the expected type.
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

/// Deepest nesting of a value, as in JSON; far below the size of a stack.
const DEPTH_MAX: usize = 128;

impl Codec for MessagePack {
    const CONTENT_TYPE: &'static str = "application/msgpack";

    fn encode<T: Serialize + ?Sized>(&self, value: &T, buf: &mut BytesMut) -> Result<()> {
        let mut packer = Serializer::new(buf.writer()).with_struct_map();
        value.serialize(&mut packer).map_err(|error| unencodable("MessagePack", error))
    }

    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T> {
        let mut unpacker = unpacker(bytes);
        match T::deserialize(&mut unpacker) {
            Ok(value) => at_end(&mut unpacker).map(|()| value),
            // Tracking the path costs time, so a second pass does it only after an error.
            Err(_) => explain(bytes),
        }
    }
}

/// Decodes once more and builds an error with the path, the value found and the type expected.
///
/// The second pass reads the same bytes through the same deserializer, so it fails where the first
/// pass failed, and allocates no more.
fn explain<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T> {
    let mut unpacker = unpacker(bytes);
    let expectation = Expectation::default();
    let recording = Recording::new(&mut unpacker, &expectation);
    let failed = match serde_path_to_error::deserialize::<_, T>(recording) {
        Ok(value) => return at_end(&mut unpacker).map(|()| value),
        Err(failed) => failed,
    };
    let path = failed.path().clone();
    Err(match failed.into_inner() {
        decode::Error::TypeMismatch(found) => {
            let mismatch = Mismatch { found, expected: expectation.into_inner() };
            undecodable("MessagePack", &path, mismatch)
        }
        other => undecodable("MessagePack", &path, other),
    })
}

/// A value of another type than expected.
#[derive(Debug)]
struct Mismatch {
    found: Marker,
    expected: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid type: {}, expected {}", name(self.found), self.expected)
    }
}

impl StdError for Mismatch {}

/// Returns the name of a marker's type in the words of serde's errors.
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

fn unpacker(bytes: &[u8]) -> Deserializer<ReadRefReader<'_, [u8]>> {
    let mut unpacker = Deserializer::from_read_ref(bytes);
    unpacker.set_max_depth(DEPTH_MAX);
    unpacker
}

/// Checks that no data follows the value. The unpacker does not report its position, but at the end
/// it fails to read another value.
fn at_end(unpacker: &mut Deserializer<ReadRefReader<'_, [u8]>>) -> Result<()> {
    match IgnoredAny::deserialize(unpacker) {
        Err(decode::Error::InvalidMarkerRead(end))
            if end.kind() == io::ErrorKind::UnexpectedEof =>
        {
            Ok(())
        }
        _ => Err(Error::new(
            ErrorKind::Codec,
            "cannot decode the MessagePack: data follows the value",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
    fn error_names_the_argument_that_is_wrong_beside_types_with_a_binary_form() {
        #[derive(Debug, Deserialize)]
        #[allow(dead_code, reason = "only decoded")]
        struct Ban {
            ip: std::net::IpAddr,
            minutes: u32,
        }
        let ip = std::net::IpAddr::from([127, 0, 0, 1]);
        #[derive(Serialize)]
        struct Sent {
            ip: std::net::IpAddr,
            minutes: &'static str,
        }
        let error = error_of::<Ban>(&encoded(&Sent { ip, minutes: "ten" }));
        assert!(error.contains("minutes") && error.contains("expected u32"), "{error}");
        assert!(!error.contains("IpAddr"), "{error}");
    }

    #[test]
    fn explaining_a_large_body_of_another_type_is_cheap() {
        let mut bytes = vec![0xdd, 1, 0, 0, 0];
        bytes.resize(5 + (1 << 24), 0xc0);
        let error = error_of::<i64>(&bytes);
        assert!(error.contains("invalid type: sequence, expected i64"), "{error}");
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
