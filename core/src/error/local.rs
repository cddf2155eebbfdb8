//! Errors of this side: a kind, a message, details and a source.

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::ErrorKind;
use crate::message::CallId;

/// A result whose error is an [`Error`] unless stated otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure on this side of the conversation.
///
/// A failure that the peer answered is a [`Fault`](crate::Fault) instead. An error has a [kind]
/// for code, a message and details for people, and its [source] for the chain. [`Display`] shows
/// this level only:
///
/// ```
/// use polywire_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Unroutable, "no server takes calls to this service")
///     .with("service", "billing");
/// assert_eq!(error.to_string(), "no server takes calls to this service (service: billing)");
/// assert_eq!(error.kind(), ErrorKind::Unroutable);
/// ```
///
/// A clone shares the error's content, because one lost connection may fail many calls.
///
/// [kind]: Error::kind
/// [source]: StdError::source
/// [`Display`]: fmt::Display
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    call: Option<CallId>,
    unsent: bool,
    fatal: bool,
}

impl Error {
    /// Creates an error of `kind`.
    ///
    /// `message` names the operation and the cause, in lower case and without a final dot.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            context: Vec::new(),
            source: None,
            call: None,
            unsent: false,
            fatal: false,
        }))
    }

    /// Creates the error of a backend that lacks `capability`, a field of
    /// [`Capabilities`](crate::Capabilities).
    ///
    /// Its kind is [`ErrorKind::Unsupported`], and it is [unsent](Self::unsent).
    #[must_use]
    pub fn unsupported(capability: &'static str) -> Self {
        let error = Self::new(ErrorKind::Unsupported, "the backend lacks a capability");
        error.with("capability", capability).unsent()
    }

    /// Adds a detail: a name, a size, a bound. Never a secret.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.inner().context.push((key, value.to_string()));
        self
    }

    /// Sets the error that caused this error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner().source = Some(Arc::from(source.into()));
        self
    }

    /// Limits the error to one call.
    ///
    /// When the receiver of a backend's requester yields such an error, that call alone fails.
    #[must_use]
    pub fn with_call(mut self, call: CallId) -> Self {
        self.inner().call = Some(call);
        self
    }

    /// Marks the message as provably not processed.
    ///
    /// Either the message never left this process, or the broker or the peer reported that no
    /// consumer accepts it. Sending the message again cannot run the work twice.
    #[must_use]
    pub fn unsent(mut self) -> Self {
        self.inner().unsent = true;
        self
    }

    /// Marks the error as the end of its stream: the receiver yields nothing after it.
    ///
    /// A backend marks the error for which a receiver stops, such as a broker that refuses for
    /// good.
    #[must_use]
    pub fn fatal(mut self) -> Self {
        self.inner().fatal = true;
        self
    }

    /// Returns the kind of failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the call that the error is [limited to](Self::with_call), if there is one.
    #[must_use]
    pub fn call(&self) -> Option<CallId> {
        self.0.call
    }

    /// Returns the detail that was added under `key`.
    #[must_use]
    pub fn detail(&self, key: &str) -> Option<&str> {
        self.0.context.iter().find(|(k, _)| *k == key).map(|(_, value)| value.as_str())
    }

    /// Returns `true` if the message was provably not processed; see [`unsent`](Self::unsent).
    /// `false` means "unknown".
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        self.0.unsent
    }

    /// Returns `true` if the stream that yielded the error has ended; see [`fatal`](Self::fatal).
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.0.fatal
    }

    /// Returns `true` if the same operation may succeed a little later without any change.
    ///
    /// True for [`Disconnected`](ErrorKind::Disconnected), [`Overloaded`](ErrorKind::Overloaded)
    /// and [`RepliesLost`](ErrorKind::RepliesLost).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Disconnected | ErrorKind::Overloaded | ErrorKind::RepliesLost
        )
    }

    fn inner(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }
}

/// Writes the message, then the details in parentheses. The source is not repeated.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (i, (key, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{key}: {value}", if i == 0 { " (" } else { ", " })?;
        }
        if self.0.context.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

/// Writes the kind, this level, and the chain of sources in one line.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind())?;
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_shows_this_level_and_debug_the_chain() {
        let error = Error::new(ErrorKind::Disconnected, "cannot connect")
            .with("host", "localhost")
            .with("port", 5672)
            .with_source(std::io::Error::other("connection refused"));
        assert_eq!(error.to_string(), "cannot connect (host: localhost, port: 5672)");
        assert_eq!(
            format!("{error:?}"),
            "Disconnected: cannot connect (host: localhost, port: 5672): connection refused"
        );
    }

    #[test]
    fn adding_to_a_clone_leaves_the_original_alone() {
        let error = Error::new(ErrorKind::Closed, "closed");
        let other = error.clone().with("handle", "requester").unsent();
        assert_eq!(error.to_string(), "closed");
        assert!(!error.is_unsent());
        assert!(other.is_unsent());
        assert_eq!(other.detail("handle"), Some("requester"));
    }
}
