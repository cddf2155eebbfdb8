//! Errors of calls.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;

use super::{CallTarget, Code, Error, ErrorKind, Fault};

/// The reason why a call has no result.
///
/// ```
/// use polywire_core::{CallError, Code, Fault};
///
/// fn advice(error: &CallError) -> &'static str {
///     match error {
///         CallError::DeadlineExceeded(_) => "the work may or may not be done",
///         CallError::Failed(error) if error.is_unsent() => "safe to try again",
///         CallError::Failed(_) => "look at this side",
///         CallError::Fault(fault) if fault.code == Code::Application => "the peer refused",
///         CallError::Fault(_) => "look at the peer's side",
///         _ => "read the changelog",
///     }
/// }
/// assert_eq!(advice(&Fault::new(Code::Application, "out of stock").into()), "the peer refused");
/// ```
///
/// [`Display`](fmt::Display) names the failure, its causes and the target of the call:
///
/// ```
/// # use polywire_codec::Json;
/// # use polywire_core::{CallError, Client, Memory, Result};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let transport = Memory::new();
/// let billing = Client::connect(&transport, "billing", Json).await?;
/// let error: CallError = billing.call::<()>("pay", &5).await.unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "cannot send the request: no server takes calls to this service \
///      (service: billing, method: pay)"
/// );
/// # Ok(())
/// # }
/// ```
///
/// `E` is the error that the method [declares](crate::Declared), if there is one. The caller gets
/// that error back as itself; every other failure of the peer is a [`Fault`]. In a function that
/// returns the plain `CallError`, or a [`Fault`], `?` converts a declared error back into the
/// fault that crossed the wire.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallError<E = Infallible> {
    /// The deadline passed before a reply arrived. The method may or may not have run.
    DeadlineExceeded(CallTarget),
    /// The call failed on this side.
    Failed(Error),
    /// The peer answered with a fault that the method does not declare.
    Fault(Fault),
    /// The peer answered with an error that the method declares.
    Declared(E),
}

impl CallError {
    /// Converts the error of a method that declares no errors into that of a method that does.
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
            Self::DeadlineExceeded(target) => CallError::DeadlineExceeded(target),
            Self::Failed(error) => CallError::Failed(error),
            Self::Fault(fault) => CallError::Fault(fault),
            Self::Declared(never) => match never {},
        }
    }
}

impl<E> CallError<E> {
    /// Creates the error of a call to an unknown target that ran out of time, for layers and
    /// services of your own.
    #[must_use]
    pub fn deadline_exceeded() -> Self {
        Self::DeadlineExceeded(CallTarget::unknown())
    }

    /// Adds the target of the call, unless the error names a target already.
    pub(crate) fn with_target(self, target: &CallTarget) -> Self {
        match self {
            Self::DeadlineExceeded(known) if known.is_unknown() => {
                Self::DeadlineExceeded(target.clone())
            }
            Self::Failed(error) => Self::Failed(target.add_to(error)),
            Self::Fault(fault) => Self::Fault(fault.with_target(target)),
            other => other,
        }
    }

    /// Returns the kind of the local error, if the call failed on this side.
    #[must_use]
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Failed(error) => Some(error.kind()),
            _ => None,
        }
    }

    /// Returns the fault that the peer answered, if the method does not declare it.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            _ => None,
        }
    }

    /// Returns `true` if every server that got the request [declined](Fault::declined) it, so that
    /// nothing was run.
    ///
    /// A server may decline with an error that the method declares. Such an error is a
    /// [`Declared`](Self::Declared) like any other, and this returns `false`.
    #[must_use]
    pub fn is_declined(&self) -> bool {
        self.fault().is_some_and(|fault| fault.code == Code::Declined)
    }

    /// Returns the declared error that the peer answered.
    #[must_use]
    pub fn declared(&self) -> Option<&E> {
        match self {
            Self::Declared(error) => Some(error),
            _ => None,
        }
    }
}

/// Writes the text of the error, the fault or the declared error, and the target of the call. The
/// inner error is not repeated as the source; the source is that of a declared error.
impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadlineExceeded(target) => {
                write!(f, "{}the deadline passed before a reply arrived", Prefix(target))
            }
            Self::Failed(error) => error.fmt(f),
            Self::Fault(fault) => write!(f, "{}{fault}", Prefix(fault.target())),
            Self::Declared(error) => error.fmt(f),
        }
    }
}

/// The target of a call in front of a message; empty if the target is unknown.
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

/// Converts the outcome of a handler's own call for the handler's caller.
///
/// A fault of the called service keeps its kind, message and details. If the called service
/// blamed this call (invalid arguments, unknown method), the code is [`Code::Internal`] here. If
/// that service declined, the code is [`Code::Unavailable`], since this service did not decline.
impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Declared(never) => match never {},
            CallError::Fault(mut fault) => {
                fault.code = match fault.code {
                    Code::InvalidArguments | Code::MethodNotFound => Code::Internal,
                    Code::Declined => Code::Unavailable,
                    code => code,
                };
                fault
            }
            CallError::Failed(error) => error.into(),
            CallError::DeadlineExceeded(target) if target.is_unknown() => {
                Self::new(Code::DeadlineExceeded, "a nested call timed out")
            }
            CallError::DeadlineExceeded(target) => {
                Self::new(Code::DeadlineExceeded, format!("a nested call of {target} timed out"))
            }
        }
    }
}
