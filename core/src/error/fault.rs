//! Faults: failures that the peer answered instead of a result.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::report;
use super::{CallTarget, Code, Error};

/// A failure that the peer answered instead of a result.
///
/// A fault crosses the wire whole. It has a [`code`](Self::code) for code to branch on, and a
/// [`kind`](Self::kind), the peer's own name for the failure (the type of its error). It has a
/// [`message`](Self::message) for people, and [`details`](Self::details) as the peer encoded them.
/// `#[derive(Fault)]` turns an error type of yours into a fault; see
/// [`Declared`](crate::Declared).
///
/// Two faults are equal if what crosses the wire is equal. The [target](Self::target) of the call
/// does not count, since the client adds it.
///
/// ```
/// use polywire_core::{Code, Fault};
///
/// let fault = Fault::new(Code::Application, "only 3 left").with_kind("OutOfStock");
/// assert_eq!(fault.to_string(), "OutOfStock: only 3 left");
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Fault {
    /// The way in which the call failed.
    pub code: Code,
    /// The peer's own name for the failure. The default is the code's name.
    pub kind: String,
    /// A description for people.
    pub message: String,
    /// Further information, as the peer's codec wrote it. The default is nothing.
    pub details: Bytes,
    /// The value that becomes the details, in the format in which the fault is sent.
    value: Option<Value>,
    is_permanent: bool,
    /// The target of the call that got the fault. It does not cross the wire.
    target: CallTarget,
}

/// A value that no codec has written yet.
#[derive(Clone)]
struct Value(Arc<dyn erased_serde::Serialize + Send + Sync>);

impl Fault {
    /// Creates a fault that is named after its code and has no details.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            kind: code.as_str().to_owned(),
            message: message.into(),
            details: Bytes::new(),
            value: None,
            is_permanent: false,
            target: CallTarget::unknown(),
        }
    }

    /// Creates a fault whose message is the text of an error and its causes, in one line.
    #[must_use]
    pub fn of(code: Code, error: &dyn std::error::Error) -> Self {
        Self::new(code, report(error))
    }

    /// Creates the fault by which a handler declines a request, so that another server of the
    /// service can process it.
    ///
    /// The request counts as not processed here, so running it elsewhere is no second run. Where
    /// the transport knows its servers, each gets the request at most once. The caller does not
    /// see the fault unless every server declines, or the request is declined
    /// [too often](crate::Capabilities::declining).
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

    /// Creates the fault of a handler that does not answer a
    /// [broadcast](crate::broadcast): its caller gets no outcome of this instance. In a call to
    /// one server it [declines](Self::declined) the call.
    #[must_use]
    pub fn silent() -> Self {
        Self::declined("the handler does not answer").with_kind(SILENT)
    }

    /// Returns whether this is the fault of a handler that does not answer a broadcast.
    pub(crate) fn is_silent(&self) -> bool {
        self.code == Code::Declined && self.kind == SILENT
    }

    /// Sets the name of the failure: usually the type of the original error.
    #[must_use]
    pub fn with_kind(self, kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), ..self }
    }

    /// Sets the details, already encoded.
    #[must_use]
    pub fn with_details(self, details: impl Into<Bytes>) -> Self {
        Self { details: details.into(), value: None, ..self }
    }

    /// Sets the details as a value, to be written in the format in which the fault is sent.
    ///
    /// A [`Dialect`](crate::Dialect) writes the value: that of a [`Router`](crate::Router), or of
    /// the code that `#[service]` generates. A fault that no dialect writes is sent without the
    /// value.
    #[must_use]
    pub fn with_value(self, value: impl Serialize + Send + Sync + 'static) -> Self {
        Self { details: Bytes::new(), value: Some(Value(Arc::new(value))), ..self }
    }

    /// Marks the failure as permanent: another attempt would fail in the same way.
    ///
    /// A worker or a listener does not retry the message. It goes to the dead letters at once, with
    /// the reason [`Refused`](crate::message::DeadLetterReason::Refused), as far as its
    /// [`Retries`](crate::Retries) keep what fails. The mark crosses the wire with the fault, so a
    /// client's [`Retry`](crate::middleware::Retry) does not repeat the call either, and a handler
    /// that returns the fault of a call of its own passes the mark on. A peer of an older version
    /// ignores the mark.
    ///
    /// ```
    /// use polywire_core::{Code, Fault};
    ///
    /// async fn thumbnail(file: String) -> Result<(), Fault> {
    ///     if !file.ends_with(".jpg") {
    ///         return Err(Fault::new(Code::Application, "not a picture").permanent());
    ///     }
    ///     // …
    ///     Ok(())
    /// }
    /// # let _ = thumbnail;
    /// ```
    #[must_use]
    pub fn permanent(self) -> Self {
        Self { is_permanent: true, ..self }
    }

    /// Returns `true` if the failure is [permanent](Self::permanent).
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.is_permanent
    }

    /// Returns the target of the call that got this fault, as far as the client knows it.
    #[must_use]
    pub fn target(&self) -> &CallTarget {
        &self.target
    }

    /// Sets the target of the call, unless it is known already.
    pub(super) fn with_target(self, target: &CallTarget) -> Self {
        if self.target.is_unknown() { Self { target: target.clone(), ..self } } else { self }
    }

    /// Returns the value that becomes the details, for a [`Dialect`](crate::Dialect) to write.
    #[must_use]
    pub fn value(&self) -> Option<impl Serialize + '_> {
        self.value.as_ref().map(|value| &*value.0)
    }
}

/// The kind of the fault of a handler that does not answer.
const SILENT: &str = "Silent";

impl PartialEq for Fault {
    fn eq(&self, other: &Self) -> bool {
        let Self { code, kind, message, details, value, is_permanent, target: _ } = self;
        (code, kind, message, details) == (&other.code, &other.kind, &other.message, &other.details)
            && (value, is_permanent) == (&other.value, &other.is_permanent)
    }
}

impl Eq for Fault {}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Value {}

/// Writes the kind and the message.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

/// Writes the code, the text of [`Display`](fmt::Display), whether the fault is permanent, the
/// target of the call, and the size of the details: what a `main` prints that returns the error.
impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permanent = if self.is_permanent { ", permanent" } else { "" };
        write!(f, "{:?}{permanent}: {self}", self.code)?;
        if !self.target.is_unknown() {
            write!(f, " (called {})", self.target)?;
        }
        match (self.details.len(), &self.value) {
            (0, None) => Ok(()),
            (0, Some(_)) => f.write_str(" (details not written yet)"),
            (bytes, _) => write!(f, " ({bytes} bytes of details)"),
        }
    }
}

impl std::error::Error for Fault {}

/// Converts a local error of a handler for its caller: an [internal](Code::Internal) fault, whose
/// message is the error and its causes.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::new(Code::Internal, report(&error)).with_kind("Error")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Address;

    #[test]
    fn debug_output_is_one_line_for_people() {
        let fault = Fault::new(Code::Application, "only 3 left").with_kind("OutOfStock");
        assert_eq!(format!("{fault:?}"), "Application: OutOfStock: only 3 left");
        let target = CallTarget::new(Some(Address::new("shop").unwrap()), None);
        let received = fault.permanent().with_details(&b"\x03"[..]).with_target(&target);
        assert_eq!(
            format!("{received:#?}"),
            "Application, permanent: OutOfStock: only 3 left (called shop) (1 bytes of details)"
        );
    }

    #[test]
    fn faults_are_equal_if_what_crosses_the_wire_is() {
        let fault = Fault::new(Code::Application, "out of stock");
        let target = CallTarget::new(Some(Address::new("shop").unwrap()), None);
        let received = fault.clone().with_target(&target);
        assert_eq!(received, fault);
        assert_ne!(received.target(), fault.target());
        assert_ne!(fault.clone().with_kind("OutOfStock"), fault);
        assert_ne!(fault.clone().permanent(), fault);
    }
}
