//! Application headers of messages.

use std::sync::Arc;

use bytestring::ByteString;

use super::first_and_rest::{FirstAndRest, FirstAndRestIter};

/// Name-value pairs that travel with a message: a trace, a tenant, a language.
///
/// Names are case-sensitive and unique. Empty headers cost no allocation. Keep headers small:
/// [`Limits`](crate::Limits) bounds their number and their bytes, and every hop copies them. Within
/// a process, clones share the headers until one of them changes.
///
/// ```
/// use polywire_core::Headers;
///
/// let mut headers = Headers::new();
/// headers.insert("tenant", "zürich");
/// headers.insert("tenant", "genève");
/// assert_eq!(headers.get("tenant"), Some("genève"));
/// assert_eq!(headers.len(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Headers(Option<Arc<FirstAndRest<Header>>>);

type Header = (ByteString, ByteString);

impl Headers {
    /// Prefix of the names that are reserved for backends: `polywire.`. Every transport refuses to
    /// send a message with such a header.
    pub const RESERVED: &'static str = "polywire.";

    /// Creates empty headers.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    fn pairs(&self) -> FirstAndRestIter<'_, Header> {
        FirstAndRest::iter(self.0.as_deref())
    }

    /// Sets `name` to `value` and replaces the previous value.
    pub fn insert(&mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) {
        let (name, value) = (name.into(), value.into());
        let Some(pairs) = &mut self.0 else {
            self.0 = Some(Arc::new(FirstAndRest::new((name, value))));
            return;
        };
        let pairs = Arc::make_mut(pairs);
        match pairs.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => pairs.push((name, value)),
        }
    }

    /// Returns the value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.shared(name).map(|value| &**value)
    }

    /// Returns the value of `name`, to be shared.
    pub(crate) fn shared(&self, name: &str) -> Option<&ByteString> {
        self.pairs().find(|(known, _)| &**known == name).map(|(_, value)| value)
    }

    /// Removes `name` and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<ByteString> {
        let at = self.pairs().position(|(known, _)| &**known == name)?;
        if let Some((_, value)) = Arc::make_mut(self.0.as_mut()?).remove(at) {
            return Some(value);
        }
        // It is the only one.
        self.0.take().map(|pairs| Arc::unwrap_or_clone(pairs).into_first().1)
    }

    /// Iterates over all pairs in the order in which they were first set.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ByteString, &ByteString)> {
        self.pairs().map(|(name, value)| (name, value))
    }

    /// Returns the number of headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs().len()
    }

    /// Returns whether there are no headers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the number of bytes in all names and values.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// Compares without regard to order, since not every wire preserves the order.
impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => return true,
            (Some(ours), Some(theirs)) if Arc::ptr_eq(ours, theirs) => return true,
            _ => {}
        }
        self.len() == other.len()
            && self.pairs().all(|(name, value)| other.get(name) == Some(value))
    }
}

impl Eq for Headers {}

impl<N: Into<ByteString>, V: Into<ByteString>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in pairs {
            headers.insert(name, value);
        }
        headers
    }
}
