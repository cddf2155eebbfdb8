//! Failures of the peer: what it answered instead of a result.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::error::report;
use crate::error::{CallError, CallTarget, Declared, Error};

/// What a peer answered instead of a result.
///
/// It crosses the wire whole: [`code`](Self::code) for code to branch on, [`kind`](Self::kind) as
/// the peer's own name for it (the type of its error), [`message`](Self::message) for people, and
/// [`details`](Self::details) as the peer encoded them. An error type of yours becomes one by
/// `#[derive(Fault)]`; see [`Declared`].
///
/// ```
/// use polywire_core::{Code, Fault};
///
/// let fault = Fault::new(Code::Application, "only 3 left").with_kind("OutOfStock");
/// assert_eq!(fault.to_string(), "OutOfStock: only 3 left");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Who has to act on it.
    pub code: Code,
    /// The peer's own name for the failure. The default is the code's name.
    pub kind: String,
    /// What happened, for people.
    pub message: String,
    /// More of it, as the peer's codec wrote it. The default is nothing.
    pub details: Bytes,
    /// What is to become the details, in whatever format the fault is sent.
    value: Option<Value>,
    /// Who answered with it; it does not travel.
    callee: CallTarget,
}

/// A value that nobody has written yet.
#[derive(Clone)]
struct Value(Arc<dyn erased_serde::Serialize + Send + Sync>);

/// Which of the few ways a call can fail at the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The method ran and says no: an expected failure of the application.
    Application,
    /// The peer does not know the caller, or the caller may not do this.
    Denied,
    /// The peer ran out of the caller's time.
    DeadlineExceeded,
    /// The peer is not the one for this call, and so is no other that was there: see
    /// [`Fault::declined`]. Nothing of it was carried out.
    Declined,
    /// The method crashed, or its result could not be encoded: a bug at the peer.
    Internal,
    /// The arguments are not what the method takes.
    InvalidArguments,
    /// The service has no method of that name.
    MethodNotFound,
    /// The peer cannot take the call now: it is draining or overloaded. Another one may.
    Unavailable,
}

impl Fault {
    /// A fault named after its code, without details.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            kind: code.as_str().to_owned(),
            message: message.into(),
            details: Bytes::new(),
            value: None,
            callee: CallTarget::unknown(),
        }
    }

    /// A fault whose message is that of an error and its causes, in one line.
    #[must_use]
    pub fn of(code: Code, error: &dyn std::error::Error) -> Self {
        Self::new(code, report(error))
    }

    /// What a handler answers that is not the one for this call, though another server of the
    /// service may be.
    ///
    /// The caller does not get to see it, as long as there is one: the request goes to another
    /// server, to each once at most where it is known who they are. It is not carried out here,
    /// so that doing so elsewhere is no second time. When nobody is left, or it was declined
    /// [too often](crate::Capabilities::declining), the caller gets this fault.
    ///
    /// ```
    /// # use polywire_codec::MessagePack;
    /// # use polywire_core::Router;
    /// use polywire_core::Fault;
    ///
    /// let router = Router::new(MessagePack).method("render", |file: String| async move {
    ///     if file.ends_with(".mov") {
    ///         return Err(Fault::declined("no graphics card here"));
    ///     }
    ///     Ok(file.len())
    /// });
    /// # let _ = router;
    /// ```
    #[must_use]
    pub fn declined(because: impl Into<String>) -> Self {
        Self::new(Code::Declined, because)
    }

    /// Names the failure: usually the type of the error that it was.
    #[must_use]
    pub fn with_kind(self, kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), ..self }
    }

    /// Adds details, already encoded.
    #[must_use]
    pub fn with_details(self, details: impl Into<Bytes>) -> Self {
        Self { details: details.into(), value: None, ..self }
    }

    /// Adds details as a value, which is written in the format that the fault is sent in: by a
    /// [`Dialect`](crate::Dialect), that is by a [`Router`](crate::Router) or what `#[service]`
    /// writes. Elsewhere it stays behind.
    #[must_use]
    pub fn with_value(self, value: impl Serialize + Send + Sync + 'static) -> Self {
        Self { details: Bytes::new(), value: Some(Value(Arc::new(value))), ..self }
    }

    /// Who answered with it, as its caller knows.
    #[must_use]
    pub fn callee(&self) -> &CallTarget {
        &self.callee
    }

    pub(crate) fn of_callee(self, callee: &CallTarget) -> Self {
        if self.callee.is_unknown() { Self { callee: callee.clone(), ..self } } else { self }
    }

    /// The value that is to become the details, for a [`Dialect`](crate::Dialect) that writes it.
    #[must_use]
    pub fn value(&self) -> Option<impl Serialize + '_> {
        self.value.as_ref().map(|value| &*value.0)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not written yet)")
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Value {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Fault {}

/// What went wrong on the side of a handler, told to its caller: an [internal](Code::Internal)
/// fault with the error and its causes as the message.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::new(Code::Internal, report(&error)).with_kind("Error")
    }
}

/// What a handler's own call came to, told to the handler's caller: what the service that it called
/// has answered, by its kind, message and details. If that found our call at fault, it is
/// [internal](Code::Internal) here; and if it declined, [unavailable](Code::Unavailable), since
/// that does not mean that this one does.
impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Declared(never) => match never {},
            CallError::Fault(fault) => {
                let code = match fault.code {
                    Code::InvalidArguments | Code::MethodNotFound => Code::Internal,
                    Code::Declined => Code::Unavailable,
                    code => code,
                };
                Self { code, ..fault }
            }
            CallError::Failed(error) => error.into(),
            CallError::DeadlineExceeded(callee) if callee.is_unknown() => {
                Self::new(Code::DeadlineExceeded, "a call it made took too long")
            }
            CallError::DeadlineExceeded(callee) => Self::new(
                Code::DeadlineExceeded,
                format!("a call it made, of {callee}, took too long"),
            ),
        }
    }
}

/// As [from the plain `CallError`](#impl-From<CallError>-for-Fault); what the other service's
/// method declares is told as it is.
impl<E: Declared> From<CallError<E>> for Fault {
    fn from(error: CallError<E>) -> Self {
        CallError::<std::convert::Infallible>::from(error).into()
    }
}

/// What a method declares, as it travels; so `?` works in a handler that answers any fault.
impl<E: Declared> From<E> for Fault {
    fn from(error: E) -> Self {
        error.into_fault()
    }
}

impl Code {
    /// Every code, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Application,
        Self::DeadlineExceeded,
        Self::Internal,
        Self::InvalidArguments,
        Self::MethodNotFound,
        Self::Unavailable,
        Self::Denied,
        Self::Declined,
    ];

    /// The name of the code, as wires with text carry it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Application => "Application",
            Self::Denied => "Denied",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Declined => "Declined",
            Self::Internal => "Internal",
            Self::InvalidArguments => "InvalidArguments",
            Self::MethodNotFound => "MethodNotFound",
            Self::Unavailable => "Unavailable",
        }
    }

    /// The code of that name. A name from a newer peer is [`Code::Internal`]: it failed, and we do
    /// not know how.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|code| code.as_str() == name).unwrap_or(Self::Internal)
    }

    /// The number of the code, as compact wires carry it.
    #[must_use]
    pub fn as_u8(self) -> u8 {
        match self {
            Self::Application => 1,
            Self::DeadlineExceeded => 2,
            Self::Internal => 3,
            Self::InvalidArguments => 4,
            Self::MethodNotFound => 5,
            Self::Unavailable => 6,
            Self::Denied => 7,
            Self::Declined => 8,
        }
    }

    /// The code of that number. A number from a newer peer is [`Code::Internal`].
    #[must_use]
    pub fn from_u8(number: u8) -> Self {
        Self::ALL.into_iter().find(|code| code.as_u8() == number).unwrap_or(Self::Internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_both_spellings() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.as_str()), code);
            assert_eq!(Code::from_u8(code.as_u8()), code);
        }
    }

    #[test]
    fn unknown_codes_are_internal() {
        assert_eq!(Code::from_name("Teapot"), Code::Internal);
        assert_eq!(Code::from_u8(200), Code::Internal);
    }
}
