//! Who was called.

use std::fmt;

use crate::message::Address;

/// Who was called, as far as that is known: the service and the method. For people; it changes no
/// comparison.
///
/// ```
/// # use polywire_core::CallError;
/// # fn log(error: &CallError) {
/// if let CallError::DeadlineExceeded(callee) = error {
///     eprintln!("{callee} is slow"); // billing/pay is slow
/// }
/// # }
/// ```
#[derive(Clone, Default)]
pub struct CallTarget(Option<Box<Names>>);

#[derive(Clone)]
struct Names {
    service: Option<Address>,
    method: Option<Address>,
}

impl CallTarget {
    /// Somebody.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    pub(crate) fn new(service: Option<Address>, method: Option<Address>) -> Self {
        if service.is_none() && method.is_none() {
            return Self::unknown();
        }
        Self(Some(Box::new(Names { service, method })))
    }

    /// The service that was called.
    #[must_use]
    pub fn service(&self) -> Option<&Address> {
        self.0.as_ref()?.service.as_ref()
    }

    /// The method that was called.
    #[must_use]
    pub fn method(&self) -> Option<&Address> {
        self.0.as_ref()?.method.as_ref()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.0.is_none()
    }
}

/// The service and the method, a slash between; what is not known is left out.
impl fmt::Display for CallTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.service(), self.method()) {
            (Some(service), Some(method)) => write!(f, "{service}/{method}"),
            (Some(name), None) | (None, Some(name)) => f.write_str(name.as_str()),
            (None, None) => f.write_str("somebody"),
        }
    }
}

impl fmt::Debug for CallTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All are equal: where a failure came from is not what it is.
impl PartialEq for CallTarget {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for CallTarget {}
