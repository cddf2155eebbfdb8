//! The result of a case: passed, failed with a sentence, or not run.

use std::fmt::{self, Display};

use crate::hook::Hook;

/// The result of a case, or of one of its steps: a value, or the reason why the case ends here.
pub type Verdict<T = ()> = Result<T, Failure>;

/// The reason why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The backend breaks the requirement. The sentence says what was seen.
    Failed(String),
    /// The backend lacks a capability or a hook that the case needs, which is not a fault.
    NotRun(Missing),
}

/// A capability or a hook that a case needs and the backend lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// The capability of this name, a field of [`Capabilities`](polywire_core::Capabilities); or
    /// `health` or `canaries`, if the transport [reports](polywire_core::Transport::health) none.
    Capability(&'static str),
    /// A disturbance of the space.
    Hook(Hook),
}

impl Failure {
    /// A failure with this sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self::Failed(sentence.into())
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(sentence) => f.write_str(sentence),
            Self::NotRun(missing) => write!(f, "not run: {missing}"),
        }
    }
}

impl std::error::Error for Failure {}

impl Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capability(name) => write!(f, "no {name}"),
            Self::Hook(hook) => write!(f, "no hook {hook}"),
        }
    }
}

/// Conversion of errors and missing values into failures.
pub trait OrFail<T> {
    /// Returns the value, or a failure whose sentence starts with the expectation and goes on with
    /// the error, as in `a call is answered: DeadlineExceeded`.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if there is no value.
    fn or_fail(self, expected: &str) -> Verdict<T>;
}

impl<T, E: fmt::Debug> OrFail<T> for Result<T, E> {
    fn or_fail(self, expected: &str) -> Verdict<T> {
        self.map_err(|error| Failure::new(format!("{expected}: {error:?}")))
    }
}

impl<T> OrFail<T> for Option<T> {
    fn or_fail(self, expected: &str) -> Verdict<T> {
        self.ok_or_else(|| Failure::new(format!("{expected}: nothing came")))
    }
}

/// Fails the case with a formatted sentence, unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($sentence:tt)+) => {
        if !$holds {
            return Err($crate::Failure::new(format!($($sentence)+)));
        }
    };
}
pub(crate) use ensure;
