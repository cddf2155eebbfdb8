//! Identifiers of messages.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytestring::ByteString;

use crate::error::{Error, ErrorKind, Result};

/// Identifier of a message, the same for each delivery of it: through retries, redeliveries and
/// redrives.
///
/// A handler that must not repeat its work keeps the ids of what it has done. The sender chooses
/// the id, for instance the number of an order, so that two pushes of one order have one id:
/// [`Pusher::with_message_id`](crate::Pusher::with_message_id),
/// [`Publisher::with_message_id`](crate::Publisher::with_message_id) and
/// [`CallBuilder::message_id`](crate::rpc::CallBuilder::message_id). Without a choice, the sender
/// makes an id for each job, event and one-way call. A call needs none: its
/// [`Context::message_id`](crate::Context::message_id) is made of its reply address and its
/// [`CallId`](super::CallId) when a handler asks for it.
///
/// An id has 1 to [`MessageId::MAX`] bytes of UTF-8 without control characters. An id that
/// [`unique`](Self::unique) makes costs no allocation.
///
/// ```
/// use polywire_core::message::MessageId;
///
/// let order = MessageId::new("order-7")?;
/// assert_eq!(order, MessageId::new("order-7".to_owned())?);
/// assert_ne!(MessageId::unique(), MessageId::unique());
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone)]
pub struct MessageId(Text);

#[derive(Clone)]
enum Text {
    Shared(ByteString),
    Inline { len: u8, bytes: [u8; INLINE_MAX] },
}

/// The longest id that is stored without an allocation, so that the value has 40 bytes.
const INLINE_MAX: usize = 38;

/// The random part of the ids that this process makes, and the number of the next one.
static PREFIX: LazyLock<String> = LazyLock::new(|| {
    let random = |salt: u8| RandomState::new().hash_one((salt, std::process::id()));
    format!("{:016x}{:04x}-", random(0), random(1) & 0xFFFF)
});
static NEXT: AtomicU64 = AtomicU64::new(1);

impl MessageId {
    /// Longest id: 255 bytes, the longest short string of AMQP.
    pub const MAX: usize = 255;

    /// Creates an id from a text.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the text is empty, is longer than [`MessageId::MAX`], or contains a
    /// control character.
    pub fn new(text: impl Into<ByteString>) -> Result<Self> {
        let text = text.into();
        let cause = if text.is_empty() {
            "it is empty"
        } else if text.len() > Self::MAX {
            "it is longer than 255 bytes"
        } else if text.contains(char::is_control) {
            "it contains a control character"
        } else {
            return Ok(Self(Text::Shared(text)));
        };
        let error = Error::new(ErrorKind::Config, "cannot use the text as a message id");
        Err(error.with("because", cause).with("bytes", text.len()))
    }

    /// Makes an id that no other call of this function returns, in this process or another: a
    /// random number of 80 bits for the process, and a counter.
    #[must_use]
    pub fn unique() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut id = Inline::default();
        id.push(PREFIX.as_bytes());
        id.push_hex(number);
        id.into_id()
    }

    /// Makes the id of a call from the number that all its attempts have in common.
    pub(crate) fn of_call(number: u64) -> Self {
        let mut id = Inline::default();
        id.push(b"call-");
        id.push_hex(number);
        id.into_id()
    }

    /// Returns the text of the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Shared(text) => text,
            // The bytes are ASCII.
            Text::Inline { len, bytes } => {
                std::str::from_utf8(&bytes[..usize::from(*len)]).unwrap_or_default()
            }
        }
    }
}

/// An id that is being written. Bytes beyond its room are dropped.
struct Inline {
    len: usize,
    bytes: [u8; INLINE_MAX],
}

impl Default for Inline {
    fn default() -> Self {
        Self { len: 0, bytes: [0; INLINE_MAX] }
    }
}

impl Inline {
    fn push(&mut self, text: &[u8]) {
        for (place, byte) in self.bytes[self.len..].iter_mut().zip(text) {
            *place = *byte;
            self.len += 1;
        }
    }

    /// Appends a number in hexadecimal digits, without leading zeros.
    fn push_hex(&mut self, number: u64) {
        let digits = (16 - number.leading_zeros() / 4).max(1);
        for digit in (0..digits).rev() {
            let digit = usize::try_from((number >> (4 * digit)) & 0xF).unwrap_or_default();
            self.push(&b"0123456789abcdef"[digit..=digit]);
        }
    }

    fn into_id(self) -> MessageId {
        let len = u8::try_from(self.len).unwrap_or_default();
        MessageId(Text::Inline { len, bytes: self.bytes })
    }
}

impl PartialEq for MessageId {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for MessageId {}

impl Hash for MessageId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MessageId").field(&self.as_str()).finish()
    }
}

impl AsRef<str> for MessageId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl FromStr for MessageId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<&str> for MessageId {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for MessageId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl From<&Self> for MessageId {
    fn from(id: &Self) -> Self {
        id.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn made_ids_differ_and_equal_their_text() {
        let made: HashSet<_> = (0..1_000).map(|_| MessageId::unique()).collect();
        assert_eq!(made.len(), 1_000);
        for id in made {
            assert_eq!(id.as_str().find('-'), Some(20), "{id}");
            let received = MessageId::new(id.to_string()).unwrap();
            assert!(HashSet::from([id]).contains(&received));
        }
    }

    #[test]
    fn numbers_are_written_in_full() {
        for (number, text) in
            [(0, "call-0"), (0x10, "call-10"), (u64::MAX, "call-ffffffffffffffff")]
        {
            assert_eq!(MessageId::of_call(number).as_str(), text);
        }
        let longest = PREFIX.len() + 16;
        assert!(longest <= INLINE_MAX, "{longest}");
        assert_eq!(size_of::<Option<MessageId>>(), 40);
    }

    #[test]
    fn texts_that_no_wire_could_carry_are_refused() {
        assert_eq!(MessageId::new("größe 7").unwrap().to_string(), "größe 7");
        assert!(MessageId::new("x".repeat(255)).is_ok());
        for text in ["", "a\nb", &"x".repeat(256)] {
            assert_eq!(MessageId::new(text).unwrap_err().kind(), ErrorKind::Config);
        }
    }
}
