//! A secret text that no log line shows.

use std::fmt;

/// Secret text: a password, a key, or a URL that contains one.
///
/// [`Debug`](fmt::Debug) shows nothing of the text, and there is no [`Display`](fmt::Display).
///
/// ```
/// use polywire_core::secret::Secret;
///
/// let password = Secret::new("hunter2");
/// assert_eq!(format!("{password:?}"), "Secret");
/// assert_eq!(password.reveal(), "hunter2");
/// ```
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Creates a secret from its text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
