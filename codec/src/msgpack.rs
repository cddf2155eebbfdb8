//! MessagePack: small, fast, and at home in most languages.

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

/// Values as MessagePack, through `rmp-serde`.
///
/// Structs are written as maps with names, so that either side may add fields; arrays are read,
/// too. A value nested deeper than 128 levels is refused. The format is that of the
/// [specification](https://github.com/msgpack/msgpack/blob/master/spec.md), with str 8 and bin.
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

/// How deep a value may be nested: as in JSON, and far from the end of the stack.
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
            // Keeping track of the path costs time, so it is done only when there is an error to
            // explain.
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

/// Checks that nothing is left: the unpacker does not say how much it has read, but it fails to
/// read one more value.
fn at_end(unpacker: &mut Deserializer<ReadRefReader<'_, [u8]>>) -> Result<()> {
    match IgnoredAny::deserialize(unpacker) {
        Err(decode::Error::InvalidMarkerRead(end))
            if end.kind() == io::ErrorKind::UnexpectedEof =>
        {
            Ok(())
        }
        _ => Err(Error::new(ErrorKind::Codec, "the MessagePack goes on after the value")),
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

    fn refusal<T: for<'de> Deserialize<'de> + fmt::Debug>(bytes: &[u8]) -> String {
        let error = MessagePack.decode::<T>(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        format!("{error:?}")
    }

    #[test]
    fn structs_are_read_from_maps_and_from_arrays() {
        let item = Item { name: "pear".into(), price: 1.5 };
        assert_eq!(MessagePack.decode::<Item>(&encoded(&item)).unwrap(), item);
        assert_eq!(MessagePack.decode::<Item>(&encoded(&("pear", 1.5))).unwrap(), item);
        let without_price = encoded(&BTreeMap::from([("name", "pear")]));
        assert_eq!(MessagePack.decode::<Item>(&without_price).unwrap().price, 0.0);
    }

    #[test]
    fn refusals_say_where_and_what_was_expected() {
        let bytes = encoded(&(7, [BTreeMap::from([("name", "pear"), ("price", "two")])]));
        let refusal = refusal::<(i64, Vec<Item>)>(&bytes);
        assert!(refusal.contains("[1][0].price"), "{refusal}");
        assert!(refusal.contains("expected f64"), "{refusal}");
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
        let refusal = refusal::<Ban>(&encoded(&Sent { ip, minutes: "ten" }));
        assert!(refusal.contains("minutes") && refusal.contains("expected u32"), "{refusal}");
        assert!(!refusal.contains("IpAddr"), "{refusal}");
    }

    #[test]
    fn explaining_a_large_body_of_another_type_is_cheap() {
        let mut bytes = vec![0xdd, 1, 0, 0, 0];
        bytes.resize(5 + (1 << 24), 0xc0);
        let refusal = refusal::<i64>(&bytes);
        assert!(refusal.contains("invalid type: sequence, expected i64"), "{refusal}");
    }

    #[test]
    fn more_than_a_value_and_less_are_refused() {
        assert!(refusal::<u8>(b"\x01\x02").contains("goes on"));
        assert!(refusal::<u8>(b"\x01\xc1").contains("goes on"));
        refusal::<u8>(b"");
        refusal::<(u8, u8)>(b"\x92\x01");
        refusal::<String>(b"\xd9\xff");
        refusal::<Vec<u64>>(b"\xdd\xff\xff\xff\xff");
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_end_the_stack() {
        #[derive(Debug, Deserialize)]
        struct Nested(#[allow(dead_code)] Vec<Nested>);
        refusal::<Nested>(&[0x91; 100_000]);
    }
}
