//! Names of services, methods, queues, channels and topics.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use bytestring::ByteString;

use super::name_syntax;
use crate::error::{Error, ErrorKind, Result};

/// Name of a service, a method, a queue, a channel or a topic.
///
/// An address consists of words joined by dots, such as `calculator` or `billing.invoice.créer`:
///
/// - It has 1 to [`Address::MAX`] bytes of UTF-8.
/// - No word is empty, and no word is a lone `*` or `#`; those are wildcards of a
///   [`Filter`](crate::Filter).
/// - No character is white space or a control character.
///
/// Constructors check these rules, so that an existing `Address` is always valid. Clones share the
/// text.
///
/// ```
/// use polywire_core::Address;
///
/// let method: Address = "math.add".parse()?;
/// assert_eq!(method.words().collect::<Vec<_>>(), ["math", "add"]);
/// assert!(Address::new("math..add").is_err());
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(ByteString);

impl Address {
    /// Longest address: 200 bytes. AMQP allows 255 bytes for the name of a queue; the rest is room
    /// for a prefix.
    pub const MAX: usize = name_syntax::MAX;

    /// Checks `text` and creates an address from it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `text` breaks one of the rules; the error names the rule.
    pub fn new(text: impl Into<ByteString>) -> Result<Self> {
        let text = text.into();
        match invalid(&text) {
            None => Ok(Self(text)),
            Some(cause) => Err(cannot_parse(cause).with("address", name_syntax::excerpt(&text))),
        }
    }

    /// Checks a text of the program and creates an address from it, without copying.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn from_static(text: &'static str) -> Result<Self> {
        Self::new(ByteString::from_static(text))
    }

    /// Checks received bytes and creates an address from them, without copying.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), or [`ErrorKind::Config`] if `bytes` are not UTF-8.
    pub fn from_bytes(bytes: Bytes) -> Result<Self> {
        match ByteString::try_from(bytes) {
            Ok(text) => Self::new(text),
            Err(_) => Err(cannot_parse("it is not UTF-8")),
        }
    }

    /// Returns the text of the address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_text(self) -> ByteString {
        self.0
    }

    /// Returns the text of the address as shared bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        self.0.as_bytes()
    }

    /// Iterates over the words between the dots.
    pub fn words(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.split('.')
    }

    /// Joins this address and `inner` with a dot: `math` joined with `add` is `math.add`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the result is longer than [`Address::MAX`].
    pub fn join(&self, inner: &Self) -> Result<Self> {
        Self::new(format!("{self}.{inner}"))
    }
}

impl FromStr for Address {
    type Err = Error;

    /// Copies and checks `text`; see [`Address::new`].
    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Address {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for Address {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<Bytes> for Address {
    type Error = Error;

    fn try_from(bytes: Bytes) -> Result<Self> {
        Self::from_bytes(bytes)
    }
}

impl TryFrom<&[u8]> for Address {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Self> {
        Self::from_bytes(Bytes::copy_from_slice(bytes))
    }
}

impl From<&Self> for Address {
    fn from(address: &Self) -> Self {
        address.clone()
    }
}

impl std::borrow::Borrow<str> for Address {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

fn invalid(text: &str) -> Option<&'static str> {
    let has_wildcard = || text.split('.').any(|word| matches!(word, "*" | "#"));
    match name_syntax::is_plain(text) {
        true => None,
        false => name_syntax::invalid(text)
            .or_else(|| has_wildcard().then_some("one of its words is a wildcard")),
    }
}

fn cannot_parse(cause: &str) -> Error {
    Error::new(ErrorKind::Config, format!("cannot parse the address: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_addresses_keep_their_text() {
        for text in
            ["a", "math.add", "größe.δ", "rpc_SERVICE", "a-b/c:d", &"x".repeat(Address::MAX)]
        {
            assert_eq!(Address::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn errors_of_invalid_addresses_name_the_rule() {
        let long = "x".repeat(Address::MAX + 1);
        for (text, why) in [
            ("", "empty"),
            (".a", "empty"),
            ("a.", "empty"),
            ("a..b", "empty"),
            ("a b", "white space"),
            ("a\nb", "white space"),
            ("a\0b", "control"),
            ("a.*", "wildcard"),
            ("#", "wildcard"),
            (long.as_str(), "longer"),
        ] {
            for error in [Address::new(text), text.parse(), Address::try_from(text)] {
                let error = error.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Config);
                assert!(error.to_string().contains(why), "{text:?}: {error}");
            }
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        assert!(Address::from_bytes(Bytes::from_static(b"\xff")).is_err());
    }

    #[test]
    fn joining_past_the_bound_is_refused() {
        let half = Address::new("x".repeat(Address::MAX / 2)).unwrap();
        assert_eq!(half.join(&half).unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(
            Address::new("a").unwrap().join(&Address::new("b").unwrap()).unwrap().as_str(),
            "a.b"
        );
    }
}
