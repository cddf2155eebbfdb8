//! The virtual environment with nameko.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::python;

/// A Python interpreter with nameko, or the cause that there is none.
static PYTHON: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let requirements = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nameko/requirements.txt");
    python::environment("nameko", "import nameko, msgpack", requirements)
});

/// Returns a command that runs the peer. Without nameko, writes that `test` is not run.
pub(crate) fn peer(test: &str) -> Option<Command> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nameko/peer.py");
    python::command(&PYTHON, program, "nameko", test)
}
