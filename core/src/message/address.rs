//! Names of services and methods.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use crate::error::{Error, ErrorKind, Result};

/// The name of a service, a method, a queue or a topic.
///
/// An address is 1 to [`Address::MAX`] bytes of UTF-8: words joined by dots, such as `calculator`
/// or `billing.invoice.créer`. No word is empty, none is a lone `*` or `#` (those are filters), and
/// no character is white space or a control character. An `Address` that exists is valid, so
/// nothing downstream checks again.
///
/// Cloning is cheap: the text is shared.
///
/// ```
/// use polywire_core::Address;
///
/// let method = Address::new("math.add")?;
/// assert_eq!(method.words().collect::<Vec<_>>(), ["math", "add"]);
/// assert!(Address::new("math..add").is_err());
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(ByteString);

impl Address {
    /// The longest address, in bytes. AMQP allows 255 for a queue's name; the rest is room for a
    /// prefix.
    pub const MAX: usize = 200;

    /// Checks `text` and makes an address of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `text` is not an address, saying what is wrong with it.
    pub fn new(text: impl Into<ByteString>) -> Result<Self> {
        let text = text.into();
        match fault_in(&text) {
            None => Ok(Self(text)),
            Some(fault) => Err(Error::new(ErrorKind::Config, "not an address")
                .with("address", shown(&text))
                .with("because", fault)),
        }
    }

    /// Checks a text that is part of the program and makes an address of it, without copying.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `text` is not an address, saying what is wrong with it.
    pub fn from_static(text: &'static str) -> Result<Self> {
        Self::new(ByteString::from_static(text))
    }

    /// Makes an address of bytes that arrived from somewhere, without copying them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `bytes` are not UTF-8, or not an address.
    pub fn from_bytes(bytes: Bytes) -> Result<Self> {
        match ByteString::try_from(bytes) {
            Ok(text) => Self::new(text),
            Err(_) => {
                Err(Error::new(ErrorKind::Config, "not an address")
                    .with("because", "it is not UTF-8"))
            }
        }
    }

    /// The text of the address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_text(self) -> ByteString {
        self.0
    }

    /// The text of the address as shared bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        self.0.as_bytes()
    }

    /// The words between the dots.
    pub fn words(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.split('.')
    }

    /// The address of `inner` within this one: `math` joined with `add` is `math.add`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the result is longer than [`Address::MAX`].
    pub fn join(&self, inner: &Self) -> Result<Self> {
        Self::new(format!("{self}.{inner}"))
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

fn fault_in(text: &str) -> Option<&'static str> {
    let wildcard = text.split('.').any(|word| matches!(word, "*" | "#"));
    fault_in_text(text).or(wildcard.then_some("one of its words is a wildcard"))
}

/// What is wrong with `text`, whose words may be wildcards.
pub(crate) fn fault_in_text(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > Address::MAX {
        return Some("it is longer than 200 bytes");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some("it holds white space or a control character");
    }
    text.split('.').any(str::is_empty).then_some("one of its dotted words is empty")
}

/// At most one line of `text`, for an error message: what a stranger sent may be long and ugly.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_addresses_are_kept_as_they_are() {
        for text in
            ["a", "math.add", "größe.δ", "rpc_SERVICE", "a-b/c:d", &"x".repeat(Address::MAX)]
        {
            assert_eq!(Address::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn invalid_addresses_say_why() {
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
            let error = Address::new(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(why), "{text:?}: {error}");
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
