//! The target of a call.

use std::fmt;

use super::Error;
use crate::message::Address;

/// The service and the method of a call, as far as the error knows them.
///
/// Two targets are equal if their services and their methods are equal; an unknown name equals
/// only an unknown name.
///
/// ```
/// # use polywire_core::CallError;
/// # fn log(error: &CallError) {
/// if let CallError::DeadlineExceeded(target) = error {
///     eprintln!("{target} is slow"); // billing/pay is slow
/// }
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CallTarget(Option<Box<Names>>);

#[derive(Clone, PartialEq, Eq)]
struct Names {
    service: Option<Address>,
    method: Option<Address>,
}

impl CallTarget {
    /// Creates a target of which nothing is known.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Creates a target from the names that are known.
    pub(crate) fn new(service: Option<Address>, method: Option<Address>) -> Self {
        if service.is_none() && method.is_none() {
            return Self::unknown();
        }
        Self(Some(Box::new(Names { service, method })))
    }

    /// Returns the service that was called.
    #[must_use]
    pub fn service(&self) -> Option<&Address> {
        self.0.as_ref()?.service.as_ref()
    }

    /// Returns the method that was called.
    #[must_use]
    pub fn method(&self) -> Option<&Address> {
        self.0.as_ref()?.method.as_ref()
    }

    /// Returns `true` if neither the service nor the method is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.0.is_none()
    }

    /// Adds the service and the method to an error as details, unless the error has them.
    pub(super) fn add_to(&self, mut error: Error) -> Error {
        for (key, name) in [("service", self.service()), ("method", self.method())] {
            if let (Some(name), None) = (name, error.detail(key)) {
                error = error.with(key, name);
            }
        }
        error
    }
}

/// Writes the service and the method with a slash between, or the one that is known.
impl fmt::Display for CallTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.service(), self.method()) {
            (Some(service), Some(method)) => write!(f, "{service}/{method}"),
            (Some(name), None) | (None, Some(name)) => f.write_str(name.as_str()),
            (None, None) => f.write_str("unknown"),
        }
    }
}

impl fmt::Debug for CallTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(service: Option<&'static str>, method: Option<&'static str>) -> CallTarget {
        let address = |name: Option<&'static str>| name.map(|name| Address::new(name).unwrap());
        CallTarget::new(address(service), address(method))
    }

    #[test]
    fn targets_are_equal_if_service_and_method_are() {
        let pay = target(Some("billing"), Some("pay"));
        assert_eq!(pay, target(Some("billing"), Some("pay")));
        assert_ne!(pay, target(Some("billing"), Some("refund")));
        assert_ne!(pay, target(Some("shop"), Some("pay")));
        assert_ne!(pay, target(Some("billing"), None));
        assert_ne!(pay, CallTarget::unknown());
        assert_eq!(target(None, None), CallTarget::unknown());
    }
}
