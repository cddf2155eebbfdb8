//! Reply addresses.

use std::fmt;

use bytes::Bytes;

/// Reply address of a request, in the encoding of the backend that wrote it.
///
/// Core copies the address from a request to its reply and never reads it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ReplyTo(Bytes);

impl ReplyTo {
    /// Creates a reply address from the bytes of a backend.
    #[must_use]
    pub fn new(address: impl Into<Bytes>) -> Self {
        Self(address.into())
    }

    /// Returns the bytes that the backend wrote.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}
