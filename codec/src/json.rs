//! JSON: supported by every language, readable for people.

use bytes::{BufMut, BytesMut};
use polywire_core::{Codec, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Deserializer, Serializer};

use crate::failure::{Cause, undecodable, unencodable, unended};
use crate::readable::{Demands, Readable};

/// Codec for JSON (RFC 8259), through `serde_json`.
///
/// - Bytes become arrays of numbers, and map keys must be strings or numbers. [`MessagePack`]
///   represents both directly.
/// - Numbers must be finite. A value with `NaN` or an infinite number cannot be encoded.
/// - A value that is nested deeper than 127 levels can neither be encoded nor decoded. A variant
///   with content counts as a level.
///
/// [`MessagePack`]: https://docs.rs/polywire-codec/latest/polywire_codec/struct.MessagePack.html
///
/// Encoding and decoding fail with [`ErrorKind::Codec`](polywire_core::ErrorKind::Codec). The
/// details `type` and `path` of a decoding error name the type and the malformed part of the value;
/// the cause names what was expected there:
///
/// ```
/// use polywire_codec::Json;
/// use polywire_core::Codec;
///
/// let json = br#"[["apple", 1.5], ["pear", "two"]]"#;
/// let error = Json.decode::<Vec<(String, f64)>>(json).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "cannot decode the JSON: the value does not match its type (type: Vec<(String, f64)>, \
///      path: [1][1]): invalid type: string \"two\", expected f64 at line 1 column 31"
/// );
/// assert_eq!(error.detail("path"), Some("[1][1]"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Json;

impl Codec for Json {
    const CONTENT_TYPE: &'static str = "application/json";

    fn encode<T: Serialize + ?Sized>(&self, value: &T, buf: &mut BytesMut) -> Result<()> {
        let mut json = Serializer::new(buf.writer());
        let readable = Readable::<_, Text>::new(&mut json);
        value.serialize(readable).map_err(|error| unencodable("JSON", error))
    }

    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T> {
        let mut json = Deserializer::from_slice(bytes);
        match T::deserialize(&mut json) {
            Ok(value) => match json.end() {
                Ok(()) => Ok(value),
                Err(error) => Err(unended::<T>("JSON").with_source(error)),
            },
            Err(error) => Err(explain::<T>(bytes, error)),
        }
    }
}

/// JSON's own demands on a value.
///
/// `serde_json` writes `NaN` and infinite numbers as null, which no number is decoded from, so
/// `FINITE` is set. Brackets end arrays and objects, so a wrong announcement of the number of
/// elements does no harm, and `COUNTED` is not set.
struct Text;

impl Demands for Text {
    const FINITE: bool = true;
    const COUNTED: bool = false;
}

/// Decodes once more and tracks the path, for the error.
///
/// Tracking costs time, so only the second pass does it. The text of `first` can be as long as the
/// body, so `first` is cut and dropped before the second pass begins.
///
/// An error of the second pass that differs from the first one is not the cause, and neither is a
/// success. A type whose decoding depends on more than the bytes can end so. The error then has no
/// path.
#[cold]
fn explain<'de, T: Deserialize<'de>>(bytes: &'de [u8], first: serde_json::Error) -> Error {
    let cause = Cause::new(&first);
    drop(first);
    let mut json = Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Err(second) if Cause::new(second.inner()) == cause => {
            undecodable::<T>("JSON", Some(second.path()), cause)
        }
        _ => undecodable::<T>("JSON", None, cause),
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::ErrorKind;

    use super::*;

    fn error_of<T: for<'de> Deserialize<'de> + std::fmt::Debug>(json: &str) -> String {
        let error = Json.decode::<T>(json.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        format!("{error:?}")
    }

    #[test]
    fn errors_name_the_path_and_the_expected_type() {
        let error = error_of::<(i64, Vec<f64>)>(r#"[7, [1.5, "two"]]"#);
        assert!(error.contains("[1][1]"), "{error}");
        assert!(error.contains("expected f64"), "{error}");
    }

    #[test]
    fn trailing_and_missing_data_are_errors() {
        assert!(error_of::<u8>("1 2").contains("data follows"));
        error_of::<u8>("");
        error_of::<(u8, u8)>("[1,");
    }

    #[test]
    fn keys_that_json_cannot_represent_are_an_error() {
        let odd_keys = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = Json.encode(&odd_keys, &mut BytesMut::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
    }
}
