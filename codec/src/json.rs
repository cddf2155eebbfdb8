//! JSON: readable by everybody, and by people.

use bytes::{BufMut, BytesMut};
use polywire_core::{Codec, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::Deserializer;

use crate::failure::{undecodable, unencodable};

/// Values as JSON (RFC 8259), through `serde_json`.
///
/// Bytes become arrays of numbers, and keys of maps must be text or numbers; MessagePack is better
/// at both. A value nested deeper than 128 levels is refused.
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
        // Keeping track of the path costs time, so it is done only when there is an error to
        // explain.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: for<'de> Deserialize<'de> + std::fmt::Debug>(json: &str) -> String {
        let error = Json.decode::<T>(json.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        format!("{error:?}")
    }

    #[test]
    fn refusals_say_where_and_what_was_expected() {
        let refusal = refusal::<(i64, Vec<f64>)>(r#"[7, [1.5, "two"]]"#);
        assert!(refusal.contains("[1][1]"), "{refusal}");
        assert!(refusal.contains("expected f64"), "{refusal}");
    }

    #[test]
    fn more_than_a_value_and_less_are_refused() {
        assert!(refusal::<u8>("1 2").contains("goes on"));
        refusal::<u8>("");
        refusal::<(u8, u8)>("[1,");
    }

    #[test]
    fn what_json_cannot_hold_is_an_error() {
        let odd_keys = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = Json.encode(&odd_keys, &mut BytesMut::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
    }
}
