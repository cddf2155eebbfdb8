//! Failures of ours: what went wrong between the caller and the peer.

mod call_target;
mod declared;
mod fault;

pub use self::call_target::CallTarget;
pub use self::declared::{Declared, Received};
pub(crate) use self::declared::{FaultDecoder, as_declared, as_fault};
pub use self::fault::{Code, Fault};

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::message::CallId;

/// A result whose error is ours.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Something that failed on our side of the conversation.
///
/// What the peer answered is a [`Fault`]; one is never dressed as the other. An error has a [kind]
/// for code, a sentence and details for people, and its [source] for the chain. [`Display`] shows
/// this level only:
///
/// ```
/// use polywire_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Unroutable, "no server takes calls to this service").with("service", "billing");
/// assert_eq!(error.to_string(), "no server takes calls to this service (service: billing)");
/// assert_eq!(error.kind(), ErrorKind::Unroutable);
/// ```
///
/// Cloning is cheap, because one lost connection may fail many calls.
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
}

/// What kind of thing went wrong, for code to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// This end, or its transport, was closed.
    Closed,
    /// A value could not be encoded, or bytes could not be decoded.
    Codec,
    /// Something the program said is malformed: a URL, an address, an option.
    Config,
    /// The time for it was over before it was done.
    DeadlineExceeded,
    /// The peer knows us and refuses: wrong credentials, no permission.
    Denied,
    /// There is no connection: it could not be made in time, or it was lost.
    Disconnected,
    /// A bound is reached: too many calls in flight here, or a queue that takes no more.
    Overloaded,
    /// The broker or the peer took the message and refused it.
    Rejected,
    /// The request was handed over, and the way is gone by which its reply would have come. Whether
    /// it was carried out is not known.
    RepliesLost,
    /// A message is larger than a limit allows.
    TooLarge,
    /// Nobody is there to take the message.
    Unroutable,
    /// The backend cannot do what was asked, and says so rather than do less.
    Unsupported,
}

impl Error {
    /// An error of `kind`; `message` says what happened, in lower case and without a dot.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            context: Vec::new(),
            source: None,
            call: None,
            unsent: false,
        }))
    }

    /// The error of a backend that is asked for what it lacks, by the name of its capability.
    #[must_use]
    pub fn unsupported(capability: &'static str) -> Self {
        let error = Self::new(ErrorKind::Unsupported, "the backend cannot do this");
        error.with("capability", capability).unsent()
    }

    /// Adds a detail: a name, a size, a bound. Never a secret.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.inner().context.push((key, value.to_string()));
        self
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner().source = Some(Arc::from(source.into()));
        self
    }

    /// Says that the error concerns one call only. A backend that yields such an error fails that
    /// call alone.
    #[must_use]
    pub fn with_call(mut self, call: CallId) -> Self {
        self.inner().call = Some(call);
        self
    }

    /// Says that the message provably reached nobody who would act on it: it never left this
    /// process, or the broker or the peer said that nobody takes it. Sending it again cannot do
    /// the work twice.
    #[must_use]
    pub fn unsent(mut self) -> Self {
        self.inner().unsent = true;
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The one call that is concerned, if it is just one.
    #[must_use]
    pub fn call(&self) -> Option<CallId> {
        self.0.call
    }

    /// The detail that was added under `key`.
    #[must_use]
    pub fn detail(&self, key: &str) -> Option<&str> {
        self.0.context.iter().find(|(k, _)| *k == key).map(|(_, value)| value.as_str())
    }

    /// Whether the message provably reached nobody who would act on it. `false` means "unknown".
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        self.0.unsent
    }

    /// Whether the same thing may work a little later, without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Disconnected | ErrorKind::Overloaded | ErrorKind::RepliesLost
        )
    }

    fn of(mut self, callee: &CallTarget) -> Self {
        for (key, name) in [("service", callee.service()), ("method", callee.method())] {
            if let (Some(name), None) = (name, self.detail(key)) {
                self = self.with(key, name);
            }
        }
        self
    }

    fn inner(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (i, (key, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{key}: {value}", if i == 0 { " (" } else { ", " })?;
        }
        if self.0.context.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

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

/// An error and its causes in one line.
pub(crate) fn report(error: &dyn StdError) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors end with what their cause says.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

/// Why a call has no result.
///
/// ```
/// use polywire_core::{CallError, Code, Fault};
///
/// fn advice(error: &CallError) -> &'static str {
///     match error {
///         CallError::DeadlineExceeded(_) => "nobody knows whether it was done",
///         CallError::Failed(error) if error.is_unsent() => "safe to try again",
///         CallError::Failed(_) => "look at our side",
///         CallError::Fault(fault) if fault.code == Code::Application => "the peer said no",
///         CallError::Fault(_) => "look at the peer's side",
///         _ => "read the changelog",
///     }
/// }
/// assert_eq!(advice(&Fault::new(Code::Application, "out of stock").into()), "the peer said no");
/// ```
///
/// In words, it says what happened and who was called:
///
/// ```
/// # use polywire_codec::Json;
/// # use polywire_core::{CallError, Client, Memory, Result};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let transport = Memory::new();
/// let billing = Client::connect(&transport, "billing", Json).await?;
/// let error: CallError = billing.call::<()>("pay", &5).await.unwrap_err();
/// assert_eq!(error.to_string(), "no server takes calls to this service (service: billing, method: pay)");
/// # Ok(())
/// # }
/// ```
///
/// `E` is the error that the method [declares](Declared), if it declares one: then that is what the
/// caller gets back, and a [`Fault`] is only what it does not declare. Within a function that
/// returns the plain `CallError`, or a [`Fault`], `?` turns it into the fault that it was on the
/// wire.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallError<E = Infallible> {
    /// The deadline passed before an outcome was there. The work may have been done.
    DeadlineExceeded(CallTarget),
    /// It failed on our side.
    Failed(Error),
    /// The peer answered, and the answer is a failure.
    Fault(Fault),
    /// The peer answered with a failure that the method declares.
    Declared(E),
}

impl CallError {
    /// The same, for a caller that has to do with the declared errors of another method.
    ///
    /// ```
    /// use polywire_core::{CallError, Client, Dialect};
    ///
    /// async fn audit<D: Dialect, E>(client: &Client<D>) -> Result<(), CallError<E>> {
    ///     client.call("audit", &()).await.map_err(CallError::widen)
    /// }
    /// ```
    #[must_use]
    pub fn widen<E>(self) -> CallError<E> {
        match self {
            Self::DeadlineExceeded(callee) => CallError::DeadlineExceeded(callee),
            Self::Failed(error) => CallError::Failed(error),
            Self::Fault(fault) => CallError::Fault(fault),
            Self::Declared(never) => match never {},
        }
    }
}

impl<E> CallError<E> {
    /// Out of time, in a call of which nothing more is known: for layers and services of your own.
    #[must_use]
    pub fn deadline_exceeded() -> Self {
        Self::DeadlineExceeded(CallTarget::unknown())
    }

    /// Says who was called, if that has not been said.
    pub(crate) fn of(self, callee: &CallTarget) -> Self {
        match self {
            Self::DeadlineExceeded(known) if known.is_unknown() => {
                Self::DeadlineExceeded(callee.clone())
            }
            Self::Failed(error) => Self::Failed(error.of(callee)),
            Self::Fault(fault) => Self::Fault(fault.of_callee(callee)),
            other => other,
        }
    }

    /// The kind of our own failure, if it was one.
    #[must_use]
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Failed(error) => Some(error.kind()),
            _ => None,
        }
    }

    /// What the peer answered, if it answered with something that the method does not declare.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            _ => None,
        }
    }

    /// Whether every server that was asked has [declined](Fault::declined), so that nothing of it
    /// was carried out. If they did so by an error that the method declares, that is
    /// [`Declared`](Self::Declared) as any other, and this is not said.
    #[must_use]
    pub fn is_declined(&self) -> bool {
        self.fault().is_some_and(|fault| fault.code == Code::Declined)
    }

    /// What the peer answered, if the method declares it.
    #[must_use]
    pub fn declared(&self) -> Option<&E> {
        match self {
            Self::Declared(error) => Some(error),
            _ => None,
        }
    }
}

/// Says what the error, the fault or the declared error says, and who was called; what is within is
/// not repeated as the source.
impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadlineExceeded(callee) => {
                write!(f, "{}the deadline passed before an outcome was there", Prefix(callee))
            }
            Self::Failed(error) => error.fmt(f),
            Self::Fault(fault) => write!(f, "{}{fault}", Prefix(fault.callee())),
            Self::Declared(error) => error.fmt(f),
        }
    }
}

/// Who was called, before what is said about it.
struct Prefix<'a>(&'a CallTarget);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_unknown() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

impl<E: StdError + 'static> StdError for CallError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::DeadlineExceeded(_) => None,
            Self::Failed(error) => error.source(),
            Self::Fault(fault) => fault.source(),
            Self::Declared(error) => error.source(),
        }
    }
}

impl<E> From<Error> for CallError<E> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<E> From<Fault> for CallError<E> {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// For those who do not care which method it was: what it declares becomes a [`Fault`] again.
impl<E: Declared> From<CallError<E>> for CallError {
    fn from(error: CallError<E>) -> Self {
        match error {
            CallError::DeadlineExceeded(callee) => Self::DeadlineExceeded(callee),
            CallError::Failed(error) => Self::Failed(error),
            CallError::Fault(fault) => Self::Fault(fault),
            CallError::Declared(error) => Self::Fault(error.into_fault()),
        }
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
        let other = error.clone().with("end", "requester").unsent();
        assert_eq!(error.to_string(), "closed");
        assert!(!error.is_unsent());
        assert!(other.is_unsent());
        assert_eq!(other.detail("end"), Some("requester"));
    }
}
