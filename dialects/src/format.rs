//! The two formats of bodies that the dialects share, and values that stay encoded.
//!
//! A body is taken apart into slices, each of which is the value of an entry or an element as the
//! peer wrote it. So the codecs decode arguments and results as they decode a body of their own.

mod json;
mod message_pack;
mod shape;

use bytes::BytesMut;
use polywire_codec::{Json, MessagePack};
use polywire_core::{Codec, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

pub(crate) use self::shape::Shape;

/// Format of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    MessagePack,
}

impl Format {
    /// Returns the media type, exactly as nameko compares it. On the wire of amqprpc there is none.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MessagePack => "application/x-msgpack",
        }
    }

    /// Returns the encoding beside the media type, as kombu writes it.
    pub(crate) fn content_encoding(self) -> &'static str {
        match self {
            Self::Json => "utf-8",
            Self::MessagePack => "binary",
        }
    }

    /// Returns the format of a media type. Case and parameters do not count.
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        let name = content_type.split(';').next().unwrap_or_default().trim();
        let is = |format: Self| name.eq_ignore_ascii_case(format.content_type());
        [Self::Json, Self::MessagePack].into_iter().find(|format| is(*format))
    }

    /// Encodes a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the format cannot hold the value.
    pub(crate) fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<BytesMut> {
        let mut buf = BytesMut::new();
        match self {
            Self::Json => Json.encode(value, &mut buf)?,
            Self::MessagePack => MessagePack.encode(value, &mut buf)?,
        }
        Ok(buf)
    }

    /// Decodes a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if it is not of that type.
    pub(crate) fn decode<'de, T: Deserialize<'de>>(self, bytes: &'de [u8]) -> Result<T> {
        match self {
            Self::Json => Json.decode(bytes),
            Self::MessagePack => MessagePack.decode(bytes),
        }
    }

    /// Returns the kind of an encoded value.
    pub(crate) fn shape(self, value: &[u8]) -> Shape {
        match self {
            Self::Json => json::shape(value),
            Self::MessagePack => message_pack::shape(value),
        }
    }

    /// Takes a map with names apart, in its order.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the value is no map with names, or is malformed.
    pub(crate) fn entries(self, map: &[u8]) -> Result<Vec<(String, &[u8])>> {
        let entries = match self {
            Self::Json => json::entries(map),
            Self::MessagePack => message_pack::entries(map),
        };
        entries.ok_or_else(|| malformed("a map with names was expected"))
    }

    /// Takes a list apart.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the value is no list, or is malformed.
    pub(crate) fn elements(self, list: &[u8]) -> Result<Vec<&[u8]>> {
        let elements = match self {
            Self::Json => json::elements(list),
            Self::MessagePack => message_pack::elements(list),
        };
        elements.ok_or_else(|| malformed("a list was expected"))
    }

    /// Writes a map of encoded values.
    pub(crate) fn map(self, entries: &[(&str, &[u8])]) -> BytesMut {
        match self {
            Self::Json => json::map(entries),
            Self::MessagePack => message_pack::map(entries),
        }
    }

    /// Writes a list of encoded values.
    pub(crate) fn list(self, elements: &[&[u8]]) -> BytesMut {
        match self {
            Self::Json => json::list(elements),
            Self::MessagePack => message_pack::list(elements),
        }
    }

    /// Returns the encoded null.
    pub(crate) fn null(self) -> &'static [u8] {
        match self {
            Self::Json => b"null",
            Self::MessagePack => b"\xc0",
        }
    }

    /// Returns whether the bytes are one value of the format.
    pub(crate) fn is_value(self, bytes: &[u8]) -> bool {
        match self {
            Self::Json => json::is_value(bytes),
            Self::MessagePack => message_pack::is_value(bytes),
        }
    }
}

/// Returns the error of a body that does not have the form of its dialect.
pub(crate) fn malformed(because: &'static str) -> Error {
    Error::new(ErrorKind::Codec, "cannot decode the body").with("because", because)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_type_is_found_without_case_and_parameters() {
        for (text, expected) in [
            ("application/json", Some(Format::Json)),
            ("Application/JSON; charset=utf-8", Some(Format::Json)),
            ("application/x-msgpack", Some(Format::MessagePack)),
            ("application/x-python-serialize", None),
            ("", None),
        ] {
            assert_eq!(Format::of(text), expected, "{text}");
        }
    }

    #[test]
    fn maps_and_lists_are_taken_apart_as_they_were_written() {
        for format in [Format::Json, Format::MessagePack] {
            let (seven, text) = (format.encode(&7).unwrap(), format.encode("a\"é, [").unwrap());
            let nested = format.list(&[&seven, &text, format.null()]);
            let map = format.map(&[("n\"", &seven), ("list", &nested)]);
            assert!(format.is_value(&map) && format.shape(&map) == Shape::Map);
            let entries = format.entries(&map).unwrap();
            assert_eq!(entries, [("n\"".to_owned(), &seven[..]), ("list".to_owned(), &nested)]);
            let elements = format.elements(&nested).unwrap();
            assert_eq!(elements, [&seven[..], &text, format.null()]);
            assert_eq!(format.decode::<(i32, String, ())>(&nested).unwrap().1, "a\"é, [");
            assert!(format.entries(&nested).is_err() && format.elements(&map).is_err());
            assert!(format.entries(&map[..map.len() - 1]).is_err());
            assert!(!format.is_value(&[&map[..], b"1"].concat()));
        }
    }
}
