//! JSON values that stay encoded.

use std::fmt;

use bytes::BytesMut;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::shape::Shape;

/// Returns the kind of a value.
pub(super) fn shape(value: &[u8]) -> Shape {
    match value.trim_ascii_start().first() {
        Some(b'[') => Shape::List,
        Some(b'{') => Shape::Map,
        Some(b'n') => Shape::Null,
        _ => Shape::Plain,
    }
}

/// Takes an object apart.
pub(super) fn entries(map: &[u8]) -> Option<Vec<(String, &[u8])>> {
    let Entries(entries) = serde_json::from_slice(map).ok()?;
    Some(entries.into_iter().map(|(name, value)| (name, value.get().as_bytes())).collect())
}

/// Takes an array apart.
pub(super) fn elements(list: &[u8]) -> Option<Vec<&[u8]>> {
    let elements: Vec<&RawValue> = serde_json::from_slice(list).ok()?;
    Some(elements.into_iter().map(|value| value.get().as_bytes()).collect())
}

/// Writes an object, with the spaces of Python.
pub(super) fn map(entries: &[(&str, &[u8])]) -> BytesMut {
    let mut text = BytesMut::from("{");
    for (position, (name, value)) in entries.iter().enumerate() {
        separate(&mut text, position);
        // Escaped as JSON: a text is always a JSON string.
        text.extend_from_slice(serde_json::Value::from(*name).to_string().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value);
    }
    text.extend_from_slice(b"}");
    text
}

/// Writes an array, with the spaces of Python.
pub(super) fn list(elements: &[&[u8]]) -> BytesMut {
    let mut text = BytesMut::from("[");
    for (position, value) in elements.iter().enumerate() {
        separate(&mut text, position);
        text.extend_from_slice(value);
    }
    text.extend_from_slice(b"]");
    text
}

/// Returns whether the bytes are one value.
pub(super) fn is_value(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok()
}

fn separate(text: &mut BytesMut, position: usize) {
    if position > 0 {
        text.extend_from_slice(b", ");
    }
}

/// The entries of an object, in their order.
struct Entries<'de>(Vec<(String, &'de RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        // Grown by what is there, so that the body bounds it.
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}
