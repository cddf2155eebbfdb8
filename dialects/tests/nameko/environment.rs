//! The virtual environment with nameko.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// A Python interpreter with nameko, or the cause that there is none.
static PYTHON: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nameko");
    let python = folder.join("bin/python");
    if run(Command::new(&python).args(["-c", "import nameko, msgpack"])).is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        let requirements = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nameko/requirements.txt");
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        // A registry that does not answer must not hold the tests.
        let mut limited = Command::new("timeout");
        run(limited.arg("300").arg(&python).args(install).arg(requirements))?;
    }
    Ok(python)
});

/// Runs a command. Returns its error output if it fails.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Installs nameko, unless that was done before. Takes up to five minutes.
pub(crate) fn prepare() {
    LazyLock::force(&PYTHON);
}

/// Returns a command that runs the peer. Without nameko, writes that `test` is not run.
pub(crate) fn peer(test: &str) -> Option<Command> {
    match &*PYTHON {
        Ok(python) => {
            let mut command = Command::new(python);
            command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nameko/peer.py"));
            command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONWARNINGS", "ignore");
            Some(command)
        }
        Err(cause) => {
            let cause = cause.lines().last().unwrap_or("no output");
            let _ = writeln!(std::io::stderr(), "not run: {test}: cannot install nameko: {cause}");
            None
        }
    }
}
