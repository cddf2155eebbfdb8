//! Virtual environments of Python below the target folder.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Time limit of an installation.
pub(crate) const INSTALLATION_MAX: Duration = Duration::from_mins(5);

/// Returns the interpreter of an environment, or the cause that there is none.
///
/// The environment is installed from `requirements` unless `check`, a line of Python, runs in it.
pub(crate) fn environment(name: &str, check: &str, requirements: &str) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = folder.join("bin/python");
    if run(Command::new(&python).args(["-c", check])).is_err() {
        let seconds = INSTALLATION_MAX.as_secs().to_string();
        let create = [&*seconds, "python3", "-m", "venv"];
        run(Command::new("timeout").args(create).arg(&folder))?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        // A registry that does not answer must not hold the tests.
        let mut limited = Command::new("timeout");
        run(limited.arg(&seconds).arg(&python).args(install).arg(requirements))?;
    }
    Ok(python)
}

/// Returns a command that runs a program in an environment. Without the environment, writes that
/// `test` is not run, since `packages` cannot be installed.
pub(crate) fn command(
    python: &Result<PathBuf, String>,
    program: &str,
    packages: &str,
    test: &str,
) -> Option<Command> {
    match python {
        Ok(python) => {
            let mut command = Command::new(python);
            command.arg(program);
            command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONWARNINGS", "ignore");
            Some(command)
        }
        Err(cause) => {
            let cause = cause.lines().last().unwrap_or("no output");
            not_run(test, &format!("cannot install {packages}: {cause}"));
            None
        }
    }
}

/// Writes that a test is not run.
pub(crate) fn not_run(test: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "not run: {test}: {reason}");
}

/// Runs a command. Returns its error output if it fails.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
