//! Reply addresses.

use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use rustc_hash::FxHasher;

use super::CallId;

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

    /// Returns the number of the call with this id at this address, equal in each process.
    pub(crate) fn call_number(&self, call: Option<CallId>) -> u64 {
        let mut hasher = FxHasher::default();
        (self, call).hash(&mut hasher);
        hasher.finish()
    }
}

impl fmt::Debug for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}
