//! The programs of the subjects.
//!
//! This program finds itself by its own path. The paths of the others are options of the command
//! line.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::subject::{Program, Subject};

/// The programs of the subjects, as far as they are there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs {
    /// The program for other libraries in Rust.
    ///
    /// `None` without the option `--peers`.
    pub(crate) peers: Option<PathBuf>,
    /// The interpreter of a virtual environment with the libraries in Python.
    ///
    /// `None` without the option `--python`.
    pub(crate) python: Option<PathBuf>,
}

impl Programs {
    /// Returns the reason that a subject cannot run here, or `None` if nothing is missing.
    ///
    /// A path that is given counts as present. Whether its program starts is seen only by the
    /// measurement.
    pub(crate) fn missing(&self, subject: Subject) -> Option<String> {
        match subject.program() {
            Program::Peers if self.peers.is_none() => {
                return Some(
                    "the program for other libraries is not built: use --peers".to_owned(),
                );
            }
            Program::Python(_) if self.python.is_none() => {
                return Some("there is no virtual environment: use --python".to_owned());
            }
            _ => {}
        }
        let server = subject.needs_program().filter(|program| !is_installed(program))?;
        Some(format!("{server} is not installed"))
    }

    /// Returns a command of the program of a subject, without arguments of a role.
    ///
    /// Scripts are found in the source folder that this program was built from, so a program that
    /// was moved to another machine finds none.
    ///
    /// # Errors
    ///
    /// If this program cannot be found. The command of a program that is missing cannot be started.
    pub(crate) fn command(&self, subject: Subject) -> Result<Command> {
        Ok(match subject.program() {
            Program::Own => Command::new(std::env::current_exe()?),
            Program::Peers => Command::new(self.peers.clone().unwrap_or_default()),
            Program::Python(script) => {
                let mut command = Command::new(self.python.clone().unwrap_or_default());
                let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/python");
                command.arg(PathBuf::from(folder).join(script));
                command
            }
        })
    }
}

/// Returns true if a program of this name can be started.
///
/// Runs the program with `--version`, and waits for its end. The exit code does not count.
fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_of_a_program_that_is_not_there_is_missing() {
        let none = Programs::default();
        assert_eq!(none.missing(Subject::ZmqTyped), None);
        assert!(none.missing(Subject::Tarpc).is_some_and(|reason| reason.contains("--peers")));
        assert!(none.missing(Subject::Nameko).is_some_and(|reason| reason.contains("--python")));
        let both = Programs { peers: Some("peers".into()), python: Some("python".into()) };
        assert_eq!((both.missing(Subject::Tarpc), both.missing(Subject::Nameko)), (None, None));
    }
}
