//! Errors of this side: a kind, a message, details and a source.

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::ErrorKind;
use super::report::append_causes;
use crate::message::CallId;

/// A result whose error is an [`Error`] unless stated otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure on this side of the conversation.
///
/// A failure that the peer answered is a [`Fault`](crate::Fault) instead. An error has a [kind]
/// for code, a message and details for people, and its [cause]. [`Display`] shows all of it in one
/// line, each cause once:
///
/// ```
/// use polywire_core::{Error, ErrorKind};
///
/// let refused = std::io::Error::other("the disk is full");
/// let error = Error::new(ErrorKind::Rejected, "cannot store the bill")
///     .with("service", "billing")
///     .with_source(refused);
/// assert_eq!(error.to_string(), "cannot store the bill (service: billing): the disk is full");
/// assert_eq!(error.kind(), ErrorKind::Rejected);
/// ```
///
/// Since the line contains the causes, [`source`](StdError::source) returns `None`: a report that
/// walks the sources repeats nothing. [`cause`](Self::cause) returns the cause for code.
///
/// A clone shares the error's content, because one lost connection may fail many calls.
///
/// [kind]: Error::kind
/// [cause]: Error::cause
/// [`Display`]: fmt::Display
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    context: Vec<Detail>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    call: Option<CallId>,
    unsent: bool,
    fatal: bool,
}

/// A name, a size or a bound.
#[derive(Clone)]
struct Detail {
    key: &'static str,
    value: String,
    /// Set if the message contains the value, so that the text does not repeat it.
    is_named: bool,
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

    /// Creates the error of an option of the program that needs a `capability` which the transport
    /// lacks. The text and the detail `option` name the option, as `Worker::retries`.
    pub(crate) fn lacking(option: &'static str, capability: &'static str) -> Self {
        let text = format!("the transport does not support `{option}`");
        let error = Self::new(ErrorKind::Unsupported, text).with_named("option", option);
        error.with("capability", capability).unsent()
    }

    /// Adds a detail: a name, a size, a bound. Never a secret.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.inner().context.push(Detail { key, value: value.to_string(), is_named: false });
        self
    }

    /// Adds a detail whose value the message contains already. The text does not repeat it;
    /// [`detail`](Self::detail) returns it.
    ///
    /// ```
    /// use polywire_core::{Error, ErrorKind};
    ///
    /// let message = "cannot connect to the broker at rabbit:5672";
    /// let error = Error::new(ErrorKind::Disconnected, message).with_named("host", "rabbit");
    /// assert_eq!(error.to_string(), "cannot connect to the broker at rabbit:5672");
    /// assert_eq!(error.detail("host"), Some("rabbit"));
    /// ```
    #[must_use]
    pub fn with_named(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.inner().context.push(Detail { key, value: value.to_string(), is_named: true });
        self
    }

    /// Sets the error that caused this error. Its text, and those of its sources, end the text of
    /// this error.
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
        let found = self.0.context.iter().find(|detail| detail.key == key);
        found.map(|detail| detail.value.as_str())
    }

    /// Returns the error that caused this error, for code that looks for a type in the chain. Its
    /// text is part of this error's text.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.0.source.as_deref()
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

/// Writes the message, the details in parentheses, and the causes, separated by colons.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.0.message.clone().into_owned();
        let mut separator = " (";
        for Detail { key, value, .. } in self.0.context.iter().filter(|detail| !detail.is_named) {
            line.extend([separator, key, ": ", value]);
            separator = ", ";
        }
        if separator == ", " {
            line.push(')');
        }
        append_causes(&mut line, self.cause().map(|cause| cause as _));
        f.write_str(&line)
    }
}

/// Writes the kind, and what [`Display`](fmt::Display) writes.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind())
    }
}

/// The source is always `None`, since the text contains the causes; see [`Error::cause`].
impl StdError for Error {}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with a cause, whose text may repeat that of the cause.
    #[derive(Debug)]
    struct Layer(&'static str, std::io::Error);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Layer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.1)
        }
    }

    /// Returns the text as reports write it that walk the sources, such as anyhow's `{:#}`.
    fn walked(error: &dyn StdError) -> String {
        let (mut text, mut next) = (error.to_string(), error.source());
        while let Some(source) = next {
            text = format!("{text}: {source}");
            next = source.source();
        }
        text
    }

    #[test]
    fn each_cause_is_shown_once_at_the_end() {
        let io = || std::io::Error::other("connection refused");
        for (cause, ending) in [
            ("cannot dial", "cannot dial: connection refused"),
            ("cannot dial: connection refused", "cannot dial: connection refused"),
        ] {
            let inner = Error::new(ErrorKind::Config, "cannot set up")
                .with("part", 3)
                .with_source(Layer(cause, io()));
            let error = Error::new(ErrorKind::Disconnected, "cannot connect to localhost")
                .with_named("host", "localhost")
                .with("port", 5672)
                .with_source(inner);
            let text = format!(
                "cannot connect to localhost (port: 5672): cannot set up (part: 3): {ending}"
            );
            assert_eq!(error.to_string(), text);
            assert_eq!(walked(&error), text);
            assert_eq!(walked(&crate::CallError::<Infallible>::from(error.clone())), text);
            assert_eq!(format!("{error:?}"), format!("Disconnected: {text}"));
            assert_eq!(error.detail("host"), Some("localhost"));
            let found = error.cause().and_then(|cause| cause.downcast_ref::<Error>());
            assert_eq!(found.map(Error::kind), Some(ErrorKind::Config));
        }
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
