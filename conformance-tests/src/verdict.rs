//! How a case ends.

use std::fmt::{self, Display};

use crate::Hook;

/// What a case says in the end: nothing if it passed.
pub type Verdict<T = ()> = Result<T, Failure>;

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The backend does not do what it must: a sentence about what was seen.
    Failed(String),
    /// The backend lacks what the case is about, which is no fault of it.
    NotRun(Missing),
}

/// What a backend lacks, so that a case could not be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// The capability of this name.
    Capability(&'static str),
    /// A way to disturb the space.
    Hook(Hook),
}

impl Failure {
    /// A failure that this sentence tells.
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

/// Turns errors and missing values into sentences.
pub trait OrFail<T> {
    /// The value, or a failure that starts with what was attempted.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], when there is no value.
    fn or_fail(self, attempted: &str) -> Verdict<T>;
}

impl<T, E: fmt::Debug> OrFail<T> for Result<T, E> {
    fn or_fail(self, attempted: &str) -> Verdict<T> {
        self.map_err(|error| Failure::new(format!("{attempted}: {error:?}")))
    }
}

impl<T> OrFail<T> for Option<T> {
    fn or_fail(self, attempted: &str) -> Verdict<T> {
        self.ok_or_else(|| Failure::new(format!("{attempted}: nothing came")))
    }
}

/// Fails the case with a sentence, unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($sentence:tt)+) => {
        if !$holds {
            return Err($crate::Failure::new(format!($($sentence)+)));
        }
    };
}
pub(crate) use ensure;
