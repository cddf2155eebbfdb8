//! MessagePack: small, fast, and at home in most languages.

use std::io;

use bytes::{BufMut, BytesMut};
use polywire_core::{Codec, Error, ErrorKind, Result};
use rmp_serde::Serializer;
use rmp_serde::decode::{self, Deserializer, ReadRefReader};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::failure::{undecodable, unencodable};

/// Values as MessagePack, through `rmp-serde`.
///
/// Structs are written as maps with names, so that either side may add fields; arrays are read, too. A value nested
/// deeper than 128 levels is refused. The format is that of the
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
            // Keeping track of the path costs time, so it is done only when there is an error to explain.
            Err(_) => explain(bytes),
        }
    }
}

fn explain<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T> {
    let mut unpacker = unpacker(bytes);
    let value = serde_path_to_error::deserialize(&mut unpacker).map_err(|error| {
        let path = error.path().clone();
        undecodable("MessagePack", &path, error.into_inner())
    })?;
    at_end(&mut unpacker).map(|()| value)
}

fn unpacker(bytes: &[u8]) -> Deserializer<ReadRefReader<'_, [u8]>> {
    let mut unpacker = Deserializer::from_read_ref(bytes);
    unpacker.set_max_depth(DEPTH_MAX);
    unpacker
}

/// Checks that nothing is left: the unpacker does not say how much it has read, but it fails to read one more value.
fn at_end(unpacker: &mut Deserializer<ReadRefReader<'_, [u8]>>) -> Result<()> {
    match IgnoredAny::deserialize(unpacker) {
        Err(decode::Error::InvalidMarkerRead(end)) if end.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        _ => Err(Error::new(ErrorKind::Codec, "the MessagePack goes on after the value")),
    }
}
