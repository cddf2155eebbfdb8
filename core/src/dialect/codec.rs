//! How a value becomes bytes.

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// A format for values: two functions and a media type.
///
/// JSON and MessagePack are ready in `polywire-codec`; yours is as short as this one, which writes
/// values as Rust's debug text and reads nothing but numbers:
///
/// ```
/// use polywire_core::{Codec, Error, ErrorKind, Result};
/// use serde::de::{Deserialize, IntoDeserializer};
/// # use bytes::BytesMut;
/// # use serde::Serialize;
///
/// #[derive(Clone)]
/// struct Decimal;
///
/// impl Codec for Decimal {
///     const CONTENT_TYPE: &'static str = "text/x-decimal";
///
///     fn encode<T: Serialize + ?Sized>(&self, value: &T, buf: &mut BytesMut) -> Result<()> {
///         let text = serde_plain_text(value)?;
///         buf.extend_from_slice(text.as_bytes());
///         Ok(())
///     }
///
///     fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T> {
///         let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<i64>().ok());
///         let number = number.ok_or_else(|| Error::new(ErrorKind::Codec, "not a decimal number"))?;
///         T::deserialize(number.into_deserializer())
///             .map_err(|error: serde::de::value::Error| Error::new(ErrorKind::Codec, "not the type").with_source(error))
///     }
/// }
/// # fn serde_plain_text<T: Serialize + ?Sized>(_: &T) -> Result<String> { Ok("7".into()) }
/// # let mut buf = BytesMut::new();
/// # Decimal.encode(&7, &mut buf)?;
/// assert_eq!(Decimal.decode::<i64>(b"7")?, 7);
/// # Ok::<(), Error>(())
/// ```
pub trait Codec: Clone + Send + Sync + 'static {
    /// The media type that travels with what this codec wrote.
    const CONTENT_TYPE: &'static str;

    /// Appends `value` to `buf`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if the format cannot hold the value; what was
    /// appended to `buf` by then is unspecified.
    fn encode<T: Serialize + ?Sized>(&self, value: &T, buf: &mut BytesMut) -> Result<()>;

    /// Reads a value that takes up all of `bytes`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if `bytes` are not of this format, hold
    /// another type, or go on after the value; the error says where, as a path into the value,
    /// and what was expected.
    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T>;
}
