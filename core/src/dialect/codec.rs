//! Codecs: formats of values, each of which is a dialect.

use std::cell::Cell;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Dialect;
use super::media_type::MediaType;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::message::{Body, Message, copy_short};

/// A format for values: two functions and a media type.
///
/// `polywire-codec` has JSON and MessagePack. An implementation of yours is as short as this one,
/// which writes values as decimal text and reads only numbers:
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
///         let number =
///             number.ok_or_else(|| Error::new(ErrorKind::Codec, "not a decimal number"))?;
///         T::deserialize(number.into_deserializer()).map_err(|error: serde::de::value::Error| {
///             Error::new(ErrorKind::Codec, "not the type").with_source(error)
///         })
///     }
/// }
/// # fn serde_plain_text<T: Serialize + ?Sized>(_: &T) -> Result<String> { Ok("7".into()) }
/// # let mut buf = BytesMut::new();
/// # Decimal.encode(&7, &mut buf)?;
/// assert_eq!(Decimal.decode::<i64>(b"7")?, 7);
/// # Ok::<(), Error>(())
/// ```
pub trait Codec: Clone + Send + Sync + 'static {
    /// The media type of encoded values. It is sent with every value.
    ///
    /// A message whose media type differs only in case or parameters is decoded, too. A message
    /// with another charset than UTF-8 is not.
    const CONTENT_TYPE: &'static str;

    /// Appends `value` to `buf`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the format cannot hold the value. The
    /// content of `buf` is then unspecified.
    fn encode<T: Serialize + ?Sized>(&self, value: &T, buf: &mut BytesMut) -> Result<()>;

    /// Reads a value that fills all of `bytes`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if `bytes` are not of this format, hold
    /// another type, or continue after the value. The error names the position, as a path into the
    /// value, and the expected type.
    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T>;
}

impl<C: Codec> Dialect for C {
    fn encode_call<T: Serialize + ?Sized>(&self, args: &T, message: &mut Message) -> Result<()> {
        write(self, args, message)
    }

    fn decode_call<T: DeserializeOwned>(&self, message: &Message) -> Result<T> {
        read(self, message)
    }

    fn encode_outcome<T: Serialize + ?Sized>(
        &self,
        outcome: Result<&T, &Fault>,
        message: &mut Message,
    ) -> Result<()> {
        match outcome {
            Ok(value) => write(self, value, message),
            Err(fault) => {
                let details = fault.value().map(|value| encode(self, &value)).transpose()?;
                message.content_type =
                    details.as_ref().map(|_| ByteString::from_static(C::CONTENT_TYPE));
                let fault = fault.clone();
                message.fault = Some(Box::new(match details {
                    Some(details) => fault.with_details(details),
                    None => fault,
                }));
                Ok(())
            }
        }
    }

    fn decode_outcome<T: DeserializeOwned>(
        &self,
        message: &mut Message,
    ) -> Result<Result<T, Fault>> {
        match message.fault.take() {
            Some(fault) => Ok(Err(*fault)),
            None => read(self, message).map(Ok),
        }
    }

    fn decode_details<T: DeserializeOwned>(&self, fault: &Fault, message: &Message) -> Result<T> {
        check_format::<C>(message)?;
        self.decode(&fault.details)
    }
}

/// Encodes a value into the body, and sets the media type.
fn write<C: Codec, T: Serialize + ?Sized>(
    codec: &C,
    value: &T,
    message: &mut Message,
) -> Result<()> {
    message.body = Body::from(encode_small(codec, value)?);
    message.content_type = Some(ByteString::from_static(C::CONTENT_TYPE));
    Ok(())
}

thread_local! {
    /// A buffer for small values: their bytes are copied out of it in one allocation.
    static SCRATCH: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

/// The longest value that is copied out of the shared buffer. A longer one keeps the buffer.
const SMALL_MAX: usize = 1024;

/// Encodes a value into a buffer that the thread keeps if the value is small.
fn encode_small<C: Codec, T: Serialize + ?Sized>(codec: &C, value: &T) -> Result<Bytes> {
    // A value that encodes another one finds no buffer, and makes one.
    let mut buf = SCRATCH.take().unwrap_or_default();
    buf.clear();
    buf.reserve(128);
    codec.encode(value, &mut buf)?;
    if buf.len() > SMALL_MAX {
        return Ok(buf.freeze());
    }
    let bytes = copy_short(&buf);
    SCRATCH.set(Some(buf));
    Ok(bytes)
}

/// Encodes a value into a buffer of its own.
fn encode<C: Codec, T: Serialize + ?Sized>(codec: &C, value: &T) -> Result<BytesMut> {
    let mut buf = BytesMut::with_capacity(128);
    codec.encode(value, &mut buf)?;
    Ok(buf)
}

/// Decodes a value from the body, without a copy if the body is one piece.
fn read<C: Codec, T: DeserializeOwned>(codec: &C, message: &Message) -> Result<T> {
    check_format::<C>(message)?;
    match message.body.as_slice() {
        Some(bytes) => codec.decode(bytes),
        None => codec.decode(&message.body.clone().into_bytes()),
    }
}

/// Fails if the message names a format other than that of the codec, or a foreign charset.
fn check_format<C: Codec>(message: &Message) -> Result<()> {
    let Some(found) = &message.content_type else { return Ok(()) };
    if **found == *C::CONTENT_TYPE {
        return Ok(());
    }
    let format = MediaType::new(found);
    let error = if !format.is_like(MediaType::new(C::CONTENT_TYPE)) {
        "cannot decode the body: it has another format than expected"
    } else if format.foreign_charset().is_some() {
        "cannot decode the body: its charset is not UTF-8"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Codec, error).with("found", found).with("expected", C::CONTENT_TYPE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Text;

    impl Codec for Text {
        const CONTENT_TYPE: &'static str = "text/plain";

        fn encode<T: Serialize + ?Sized>(&self, _: &T, _: &mut BytesMut) -> Result<()> {
            Ok(())
        }

        fn decode<'de, T: Deserialize<'de>>(&self, _: &'de [u8]) -> Result<T> {
            Err(Error::new(ErrorKind::Codec, "decoded"))
        }
    }

    #[test]
    fn media_type_is_compared_without_case_and_parameters() {
        let decoded = |content_type: Option<&str>| {
            let content_type = content_type.map(ByteString::from);
            let message = Message::default().with_content_type(content_type);
            Text.decode_call::<u8>(&message).unwrap_err().to_string()
        };
        for accepted in [None, Some("text/plain"), Some("TEXT/plain; charset=utf-8; format=flowed")]
        {
            assert_eq!(decoded(accepted), "decoded", "{accepted:?}");
        }
        assert!(decoded(Some("text/plain; charset=latin1")).contains("charset is not UTF-8"));
        assert!(decoded(Some("text/html")).contains("another format"));
    }
}
