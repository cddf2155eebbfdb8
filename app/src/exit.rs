//! Reasons for the end of a component, and the exit codes of its process.

use std::fmt;
use std::process::{ExitCode, Termination};
use std::sync::Arc;

use polywire_core::{Error, ErrorKind};

/// Any error of a program's own code.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Reason for the end of a component. A `main` that returns it ends the process with its
/// [code](Self::code), and prints the reason to standard error unless the code is 0.
///
/// The codes are those of BSD's `sysexits.h`, where one fits. A restart may cure the failures 69,
/// 70 and 75. It does not cure 77 and 78.
///
/// | code | variant | reason |
/// |---|---|---|
/// | 0 | [`Drained`](Self::Drained) | a signal or the program asked for the end, and all handlers have ended |
/// | 1 | [`Setup`](Self::Setup) | the program's setup failed |
/// | 69 | [`Unreachable`](Self::Unreachable) | the broker was not reachable within the start wait |
/// | 70 | [`Failed`](Self::Failed) | an endpoint or a task ended with an error |
/// | 75 | [`GraceExceeded`](Self::GraceExceeded) | handlers still ran at the end of the grace period |
/// | 77 | [`Refused`](Self::Refused) | the broker refused for good |
/// | 78 | [`Config`](Self::Config) | a setting is malformed or missing |
///
/// A process that panics in `main` ends with 101, as every Rust program.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Exit {
    /// A drain was requested by a signal or by the program, and all handlers have ended. Code 0.
    Drained,
    /// The setup of the program failed. Code 1.
    ///
    /// Also the reason if the process cannot listen for signals.
    Setup(Arc<dyn std::error::Error + Send + Sync>),
    /// The broker was not reachable within the start wait. Code 69.
    ///
    /// Holds the error of the last attempt. An attempt that had not ended by then has the host of
    /// its URL, and the error of the attempt before as its cause. A service that a call of the
    /// setup needs counts as well: the start waits for it in the same way.
    Unreachable(Error),
    /// An endpoint or a task ended with an error. Code 70.
    ///
    /// A task of the program that panics counts as well, and so does a transport that has lost a
    /// connection which only the program can replace.
    Failed {
        /// The name of the endpoint or of the task, or `transport`.
        name: String,
        /// The error.
        error: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The grace period ended, or a second signal arrived, before all handlers had ended. Code 75.
    GraceExceeded {
        /// The names of the endpoints whose handlers were dropped.
        running: Vec<String>,
    },
    /// The broker refused for good, at the start or later. Code 77.
    Refused(Error),
    /// A setting is malformed or missing, or a listed address cannot be used. Code 78.
    Config(Error),
}

impl Exit {
    /// Returns the exit code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Drained => 0,
            Self::Setup(_) => 1,
            Self::Unreachable(_) => 69,
            Self::Failed { .. } => 70,
            Self::GraceExceeded { .. } => 75,
            Self::Refused(_) => 77,
            Self::Config(_) => 78,
        }
    }

    /// Returns the exit of an endpoint that ended with `error`.
    pub(crate) fn of_endpoint(name: &str, error: Error) -> Self {
        match error.kind() {
            ErrorKind::Denied => Self::Refused(error.with("endpoint", name)),
            _ => Self::Failed { name: name.to_owned(), error: Arc::new(error) },
        }
    }

    /// Returns the exit of a transport that works no more.
    pub(crate) fn of_transport(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Denied => Self::Refused(error),
            _ => Self::Failed { name: "transport".to_owned(), error: Arc::new(error) },
        }
    }

    /// Returns the exit of an error that no further attempt to start would cure.
    ///
    /// [`ErrorKind::Unsupported`] counts as an error of a setting. Every kind without an exit of
    /// its own becomes [`Unreachable`](Self::Unreachable).
    pub(crate) fn of_start(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Denied => Self::Refused(error),
            ErrorKind::Config | ErrorKind::Unsupported => Self::Config(error),
            _ => Self::Unreachable(error),
        }
    }
}

/// Writes the reason and its causes, in one line.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drained => f.write_str("drained"),
            Self::Setup(error) => write!(f, "cannot set up: {}", Chain(&**error)),
            Self::Unreachable(error) => {
                write!(f, "not reachable within the start wait: {}", Chain(error))
            }
            Self::Failed { name, error } => write!(f, "{name} failed: {}", Chain(&**error)),
            Self::GraceExceeded { running } if running.is_empty() => {
                f.write_str("the grace period has passed")
            }
            Self::GraceExceeded { running } => {
                write!(f, "the grace period has passed, still running: {}", running.join(", "))
            }
            Self::Refused(error) => write!(f, "refused for good: {}", Chain(error)),
            Self::Config(error) => write!(f, "{}", Chain(error)),
        }
    }
}

/// An error with its causes, each of them once.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.0.to_string();
        let mut source = self.0.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some errors repeat the text of their cause at the end.
            if !line.ends_with(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            source = cause.source();
        }
        f.write_str(&line)
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        // A program without a log subscriber still says why it ended.
        if self.code() != 0 {
            eprintln!("{self}");
        }
        ExitCode::from(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_code_of_its_own_and_names_its_cause() {
        let error = |kind| Error::new(kind, "cause").with("host", "h");
        let exits = [
            (Exit::Drained, 0),
            (Exit::Setup(Arc::from(BoxError::from("cause"))), 1),
            (Exit::of_start(error(ErrorKind::Disconnected)), 69),
            (Exit::of_endpoint("orders", error(ErrorKind::Overloaded)), 70),
            (Exit::GraceExceeded { running: vec!["cause".to_owned()] }, 75),
            (Exit::of_start(error(ErrorKind::Denied)), 77),
            (Exit::of_transport(error(ErrorKind::Denied)), 77),
            (Exit::of_transport(error(ErrorKind::Closed)), 70),
            (Exit::of_endpoint("orders", error(ErrorKind::Denied)), 77),
            (Exit::of_start(error(ErrorKind::Config)), 78),
        ];
        for (exit, code) in exits {
            assert_eq!(exit.code(), code, "{exit}");
            assert!(code == 0 || exit.to_string().contains("cause"), "{exit}");
        }
    }

    /// An error with a cause, whose text may repeat that of the cause.
    #[derive(Debug)]
    struct Layer(&'static str, std::io::Error);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Layer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.1)
        }
    }

    #[test]
    fn cause_that_is_repeated_is_written_once() {
        for text in ["cannot read", "cannot read: disk full"] {
            let error = Layer(text, std::io::Error::other("disk full"));
            let exit = Exit::Setup(Arc::new(error));
            assert_eq!(exit.to_string(), "cannot set up: cannot read: disk full");
        }
    }
}
