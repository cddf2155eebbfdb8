//! Failures of an attempt to start, and those that a later attempt may not have.

use std::error::Error as StdError;
use std::sync::Arc;

use polywire_core::{CallError, Error, ErrorKind};

use crate::exit::{BoxError, Exit};

/// Failed attempt to start.
pub(crate) enum StartFailure {
    /// A later attempt may succeed.
    Passing(Error),
    /// No later attempt would succeed.
    Lasting(Exit),
}

impl StartFailure {
    /// Classifies the error of a transport, or of the end of the start wait.
    pub(crate) fn of(error: Error) -> Self {
        if may_pass(&error) { Self::Passing(error) } else { Self::Lasting(Exit::of_start(error)) }
    }

    /// Classifies an error of the setup.
    ///
    /// A transport that is lost during the setup is waited for, and so is a service that a call of
    /// the setup needs: also if the error of the program has the [`CallError`] or the [`Error`] as
    /// a source, and does not only forward to it. A refusal for good and an error of a setting keep
    /// their exits, unless they are wrapped. Other errors are the program's, and become
    /// [`Exit::Setup`].
    ///
    /// A [`CallError`] of a method that declares an error is another type for each such error, so
    /// it cannot be recognized and counts as the program's.
    pub(crate) fn of_setup(error: BoxError) -> Self {
        if let Some(passing) = passing_cause(&*error) {
            return Self::Passing(passing);
        }
        let error = match error.downcast::<CallError>() {
            Ok(call) => match *call {
                CallError::Failed(error) => BoxError::from(error),
                call => return Self::Lasting(Exit::Setup(Arc::new(call))),
            },
            Err(error) => error,
        };
        match error.downcast::<Error>() {
            Ok(error) => match Exit::of_start(*error) {
                Exit::Unreachable(error) => Self::Lasting(Exit::Setup(Arc::new(error))),
                exit => Self::Lasting(exit),
            },
            Err(error) => Self::Lasting(Exit::Setup(Arc::from(error))),
        }
    }
}

/// Returns whether a later attempt may not have this error.
fn may_pass(error: &Error) -> bool {
    error.is_transient() || error.kind() == ErrorKind::DeadlineExceeded
}

/// Returns the error of a call or of a transport which a later attempt may not have: the first one
/// among an error of the setup and its sources, unless that one lasts.
fn passing_cause(error: &(dyn StdError + 'static)) -> Option<Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        match (cause.downcast_ref::<CallError>(), cause.downcast_ref::<Error>()) {
            (Some(CallError::Failed(error)), _) => {
                let is_passing = may_pass(error) || error.kind() == ErrorKind::Unroutable;
                return is_passing.then(|| error.clone());
            }
            (Some(call @ CallError::DeadlineExceeded(_)), _) => {
                return Some(Error::new(ErrorKind::DeadlineExceeded, call.to_string()));
            }
            // A fault is the answer of a service that is there.
            (Some(_), _) => return None,
            (None, Some(error)) => return may_pass(error).then(|| error.clone()),
            (None, None) => next = cause.source(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use polywire_core::{Code, Fault};

    use super::*;

    /// An error of the program, with a cause.
    #[derive(Debug)]
    struct SetupError(BoxError);

    impl fmt::Display for SetupError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no prices")
        }
    }

    impl StdError for SetupError {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&*self.0)
        }
    }

    fn call(error: CallError) -> BoxError {
        error.into()
    }

    /// Returns the kind of the failure that passes, or the exit code of one that lasts.
    fn classified(error: BoxError) -> Result<ErrorKind, u8> {
        match StartFailure::of_setup(error) {
            StartFailure::Passing(error) => Ok(error.kind()),
            StartFailure::Lasting(exit) => Err(exit.code()),
        }
    }

    #[test]
    fn failure_that_passes_is_found_below_an_error_of_the_program() {
        let error = |kind| Error::new(kind, "a test");
        let failed = |kind| call(CallError::Failed(error(kind)));
        let late = || call(CallError::deadline_exceeded());
        let lost = || BoxError::from(error(ErrorKind::Disconnected));
        for (plain, wrapped, kind) in [
            (failed(ErrorKind::Unroutable), failed(ErrorKind::Unroutable), ErrorKind::Unroutable),
            (failed(ErrorKind::Overloaded), failed(ErrorKind::Overloaded), ErrorKind::Overloaded),
            (late(), late(), ErrorKind::DeadlineExceeded),
            (lost(), lost(), ErrorKind::Disconnected),
        ] {
            assert_eq!(classified(plain), Ok(kind));
            assert_eq!(classified(SetupError(SetupError(wrapped).into()).into()), Ok(kind));
        }
    }

    #[test]
    fn failure_that_lasts_has_its_exit() {
        let error = |kind| BoxError::from(Error::new(kind, "a test"));
        let fault = || call(CallError::Fault(Fault::new(Code::Unavailable, "a test")));
        let denied = call(CallError::Failed(Error::new(ErrorKind::Denied, "a test")));
        let lasting: [(BoxError, u8); 8] = [
            (error(ErrorKind::Denied), 77),
            (denied, 77),
            (error(ErrorKind::Config), 78),
            (error(ErrorKind::Unroutable), 1),
            (fault(), 1),
            (SetupError(fault()).into(), 1),
            (SetupError(error(ErrorKind::Denied)).into(), 1),
            ("no disk".into(), 1),
        ];
        for (error, code) in lasting {
            assert_eq!(classified(error), Err(code));
        }
    }
}
