//! A program of tests, and the command that runs it.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::programs::{EVERYTHING, Program};

/// A part of the tests that runs as one process.
pub(crate) struct Job {
    /// The name in the output, and of the log file.
    pub(crate) name: String,
    work: Work,
    /// Environment of this job alone. `None` removes a variable that all jobs have.
    environment: Vec<(OsString, Option<OsString>)>,
}

/// Cargo runs the examples of the documentation itself. Test programs are started without cargo, so
/// that several run at a time.
enum Work {
    /// The examples in the documentation, which cargo builds and runs.
    Docs,
    Program(Program),
}

/// The suite on RabbitMQ.
const SUITE: &str = "transport-amqp/conformance";

/// Programs that take longest, in the order in which they start.
///
/// Entries are compared with the beginning of a name. Programs that are not listed follow, in the
/// order of cargo.
const LONGEST_FIRST: [&str; 8] = [
    DOCS,
    "faults/quick",
    "transport-amqp/broker",
    SUITE,
    "transport-zmq/conformance",
    "transport-zmq/it",
    "dialects/nameko",
    "dialects/amqprpc",
];

const DOCS: &str = "documentation";

/// Programs that `--quick` leaves out: they need RabbitMQ.
const SLOW: [&str; 5] =
    ["dialects/amqprpc", "dialects/nameko", "faults/quick", "transport-amqp/broker", SUITE];

impl Job {
    /// Creates the job that compiles and runs the examples of the documentation.
    pub(crate) fn docs() -> Self {
        Self { name: DOCS.to_owned(), work: Work::Docs, environment: Vec::new() }
    }

    /// Creates the job of a test program.
    pub(crate) fn program(program: Program) -> Self {
        let (name, environment) = (program.name.clone(), Vec::new());
        Self { name, work: Work::Program(program), environment }
    }

    /// Creates the job of the suite on another version of RabbitMQ. `None` for any other program.
    pub(crate) fn suite_on(
        program: &Program,
        version: &str,
        environment: Vec<(OsString, Option<OsString>)>,
    ) -> Option<Self> {
        let is_suite = program.name == SUITE;
        is_suite.then(|| {
            let name = format!("{SUITE} on {version}");
            Self { name, work: Work::Program(program.clone()), environment }
        })
    }

    /// Returns the environment of this job alone, which goes before that of all jobs. `None`
    /// removes a variable that all jobs have.
    pub(crate) fn environment(&self) -> &[(OsString, Option<OsString>)] {
        &self.environment
    }

    /// Returns the position among jobs: a long one that starts last prolongs the whole run.
    ///
    /// A smaller position starts earlier. Jobs of one position keep their order.
    pub(crate) fn order(&self) -> usize {
        LONGEST_FIRST
            .iter()
            .position(|name| self.name.starts_with(name))
            .unwrap_or(LONGEST_FIRST.len())
    }

    /// Returns true for a job that `--quick` leaves out.
    pub(crate) fn is_slow(&self) -> bool {
        SLOW.contains(&self.name.as_str())
    }

    /// Returns the command, which prints the output of passed tests, too: a test that could not run
    /// says so there.
    ///
    /// A test program runs in the folder of its package, with `CARGO_MANIFEST_DIR`, as under cargo.
    /// `library_path` is the folder of the compiler's libraries.
    pub(crate) fn command(&self, workspace: &Path, library_path: &str) -> Command {
        match &self.work {
            Work::Docs => {
                let mut command = Command::new("cargo");
                command.arg("test").args(EVERYTHING).args(["--doc", "--no-fail-fast"]);
                command.current_dir(workspace);
                command
            }
            Work::Program(program) => {
                let mut command = Command::new(&program.path);
                command.arg("--show-output").current_dir(&program.folder);
                command.env("CARGO_MANIFEST_DIR", &program.folder);
                // Programs of procedural macros load the compiler's libraries.
                command.env("LD_LIBRARY_PATH", library_path);
                command
            }
        }
    }
}
