//! What a message says about itself, beside its content.

use bytestring::ByteString;

/// Pairs of text that travel with a message: a trace, a tenant, a language.
///
/// Names are compared as they are, case included, and each stands once. No headers cost no
/// allocation. Keep them small: [`Limits`](crate::Limits) bounds their number and their bytes, and
/// every hop pays for them.
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
pub struct Headers(Vec<(ByteString, ByteString)>);

impl Headers {
    /// Names that begin with this are for what backends write; no message that has one leaves,
    /// whatever carries it.
    pub const RESERVED: &'static str = "polywire.";

    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sets `name` to `value`, in place of what it was.
    pub fn insert(&mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
    }

    /// Takes `name` out.
    pub fn remove(&mut self, name: &str) -> Option<ByteString> {
        let at = self.0.iter().position(|(known, _)| &**known == name)?;
        Some(self.0.remove(at).1)
    }

    /// All pairs, in the order they were first set.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ByteString, &ByteString)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of all names and values.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// The order does not count: not every wire keeps it.
impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.0.iter().all(|(name, value)| other.get(name) == Some(value))
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
