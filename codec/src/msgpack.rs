//! MessagePack: compact, fast, and supported by most languages.

use std::io;

use bytes::{BufMut, BytesMut};
use polywire_core::{Codec, Error, ErrorKind, Result};
use rmp_serde::Serializer;
use rmp_serde::decode::{self, Deserializer, ReadRefReader};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::failure::{undecodable, unencodable};

/// Codec for MessagePack, through `rmp-serde`.
///
/// - A struct is encoded as a map with field names, so that either peer may add fields. A struct is
///   decoded from a map or an array.
/// - A value that is nested deeper than 128 levels cannot be decoded.
/// - The format follows the
///   [specification](https://github.com/msgpack/msgpack/blob/master/spec.md), with str 8 and bin.
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

/// Decodes once more and tracks the path, for the error.
///
/// The error of `rmp-serde` names the unexpected marker. Decoding through a dynamic value yields a
/// better error, which also names the expected type.
fn explain<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T> {
    let mut unpacker = unpacker(bytes);
    let failed = match serde_path_to_error::deserialize::<_, T>(&mut unpacker) {
        Ok(value) => return at_end(&mut unpacker).map(|()| value),
        Err(failed) => failed,
    };
    let value = rmpv::decode::read_value_ref_with_max_depth(&mut &*bytes, DEPTH_MAX);
    match value.map(serde_path_to_error::deserialize::<_, T>) {
        Ok(Err(better)) => {
            Err(undecodable("MessagePack", &better.path().clone(), better.into_inner()))
        }
        _ => Err(undecodable("MessagePack", &failed.path().clone(), failed.into_inner())),
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

    fn error_of<T: for<'de> Deserialize<'de> + std::fmt::Debug>(bytes: &[u8]) -> String {
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
