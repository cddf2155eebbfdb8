//! Baggage: pairs of text that callers send along with their calls.

use std::fmt;

use bytestring::ByteString;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::message::Headers;

/// Pairs of text that a call carries, and every call that results from it: a tenant, a language,
/// an experiment.
///
/// The header `baggage` holds the pairs in the format of the
/// [W3C](https://www.w3.org/TR/baggage/): `key=value`, separated by commas, with percent-encoded
/// values. Malformed pairs are dropped. Baggage holds at most 64 pairs and 8,192 bytes, and drops
/// the latest pairs first. Every server on the way can read the pairs, so they must hold no
/// secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baggage(Vec<(String, String)>);

impl Baggage {
    /// The name of the header, `baggage`.
    pub const HEADER: &'static str = "baggage";
    const PAIRS_MAX: usize = 64;
    const BYTES_MAX: usize = 8_192;

    /// Reads the baggage from headers.
    ///
    /// A handler gets the same from [`Context::baggage`](super::Context::baggage).
    #[must_use]
    pub fn of(headers: &Headers) -> Self {
        let mut baggage = Self::default();
        let text = headers.get(Self::HEADER).unwrap_or_default();
        for (key, value) in text.split(',').filter_map(pair) {
            baggage.insert(key, value);
        }
        baggage
    }

    /// Returns the value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Iterates over all pairs, in the order of the header.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Sets the pair in the baggage of these headers, and replaces an earlier value of `key`.
    ///
    /// For backends whose messages carry pairs in another form. A caller uses
    /// [`CallBuilder::baggage`](crate::rpc::CallBuilder::baggage).
    pub fn add(headers: &mut Headers, key: &str, value: &str) {
        let mut baggage = Self::of(headers);
        baggage.insert(key.to_owned(), value.to_owned());
        baggage.write(headers);
    }

    /// Adds the received pairs to those that are sent. A pair that is sent wins over a received
    /// pair with the same key.
    pub(super) fn propagate(arrived: &Headers, leaving: &mut Headers) {
        let Some(text) = arrived.get(Self::HEADER) else { return };
        if leaving.get(Self::HEADER).is_none() {
            return leaving.insert(ByteString::from_static(Self::HEADER), text);
        }
        let mut baggage = Self::of(leaving);
        for (key, value) in Self::of(arrived).0 {
            if baggage.get(&key).is_none() {
                baggage.insert(key, value);
            }
        }
        baggage.write(leaving);
    }

    fn insert(&mut self, key: String, value: String) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    fn write(&self, headers: &mut Headers) {
        headers.insert(ByteString::from_static(Self::HEADER), self.to_string());
    }
}

/// Writes the pairs as the header holds them.
impl fmt::Display for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut length = 0;
        for (key, value) in self.iter().take(Self::PAIRS_MAX) {
            let pair = format!(
                "{}={}",
                utf8_percent_encode(key, OF_KEYS),
                utf8_percent_encode(value, OF_VALUES)
            );
            let comma = if length == 0 { "" } else { "," };
            length += comma.len() + pair.len();
            if length > Self::BYTES_MAX {
                break;
            }
            write!(f, "{comma}{pair}")?;
        }
        Ok(())
    }
}

/// Parses a key and its value, without the properties that may follow.
fn pair(member: &str) -> Option<(String, String)> {
    let (key, value) = member.split(';').next()?.split_once('=')?;
    let decoded =
        |text: &str| Some(percent_decode_str(text.trim()).decode_utf8().ok()?.into_owned());
    Some((decoded(key)?, decoded(value)?)).filter(|(key, _)| !key.is_empty())
}

/// Characters to encode in values: those with a meaning in the header, and all but printable ASCII.
const OF_VALUES: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b',').add(b';').add(b'\\').add(b'%');
/// Characters to encode in keys: those of values, and those that no HTTP token contains.
const OF_KEYS: &AsciiSet = &OF_VALUES
    .add(b'(')
    .add(b')')
    .add(b'/')
    .add(b':')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b']')
    .add(b'{')
    .add(b'}');

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(text: &str) -> Headers {
        Headers::from_iter([(Baggage::HEADER, text)])
    }

    #[test]
    fn w3cs_example_is_read() {
        let baggage = Baggage::of(&headers(
            "key1=value1;property1;property2, key2 = value2, key3=value3; k=v",
        ));
        let pairs: Vec<_> = baggage.iter().collect();
        assert_eq!(pairs, [("key1", "value1"), ("key2", "value2"), ("key3", "value3")]);
        assert_eq!(Baggage::of(&headers("userId=Am%C3%A9lie")).get("userId"), Some("Amélie"));
    }

    #[test]
    fn any_text_survives_encoding() {
        let mut written = Headers::new();
        for (key, value) in [("ten=ant", "a,b;c=d e%"), ("größe", "\u{7f}\n\"")] {
            Baggage::add(&mut written, key, value);
        }
        let text = written.get(Baggage::HEADER).unwrap();
        assert!(text.is_ascii() && !text.contains(' '), "{text}");
        let baggage = Baggage::of(&written);
        assert_eq!(baggage.get("ten=ant"), Some("a,b;c=d e%"));
        assert_eq!(baggage.get("größe"), Some("\u{7f}\n\""));
    }

    #[test]
    fn malformed_pairs_are_dropped() {
        for text in ["", ",,", "=value", "key", "a=%FF", ";=;"] {
            assert_eq!(Baggage::of(&headers(text)), Baggage::default(), "{text:?}");
        }
    }

    #[test]
    fn own_pairs_win_over_received_pairs() {
        let mut leaving = headers("tenant=ours");
        Baggage::propagate(&headers("tenant=theirs,language=de"), &mut leaving);
        assert_eq!(leaving.get(Baggage::HEADER), Some("tenant=ours,language=de"));
    }

    #[test]
    fn pairs_beyond_the_bounds_are_dropped() {
        let mut many = Headers::new();
        for n in 0..100 {
            Baggage::add(&mut many, &format!("key{n}"), &"x".repeat(200));
        }
        let text = many.get(Baggage::HEADER).unwrap();
        assert!(text.len() <= 8_192);
        assert_eq!(Baggage::of(&many).iter().len(), 39);
    }
}
