//! JSON: readable by everybody, and by people.

use bytes::{BufMut, BytesMut};
use polywire_core::{Codec, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::Deserializer;

use crate::failure::{undecodable, unencodable};

/// Values as JSON (RFC 8259), through `serde_json`.
///
/// Bytes become arrays of numbers, and keys of maps must be text or numbers; MessagePack is better at both. A value
/// nested deeper than 128 levels is refused.
///
/// ```
/// use polywire_codec::Json;
/// use polywire_core::Codec;
///
/// let error = Json.decode::<Vec<(String, f64)>>(br#"[["apple", 1.5], ["pear", "two"]]"#).unwrap_err();
/// assert_eq!(error.detail("path"), Some("[1][1]"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Json;

impl Codec for Json {
    const CONTENT_TYPE: &'static str = "application/json";

    fn encode<T: Serialize + ?Sized>(&self, value: &T, buf: &mut BytesMut) -> Result<()> {
        serde_json::to_writer(buf.writer(), value).map_err(|error| unencodable("JSON", error))
    }

    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T> {
        // Keeping track of the path costs time, so it is done only when there is an error to explain.
        serde_json::from_slice(bytes).or_else(|_| explain(bytes))
    }
}

fn explain<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T> {
    let mut json = Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().clone();
        undecodable("JSON", &path, error.into_inner())
    })?;
    let rest = |error: serde_json::Error| {
        Error::new(ErrorKind::Codec, "the JSON goes on after the value").with_source(error)
    };
    json.end().map_err(rest)?;
    Ok(value)
}
