//! Where secrets come from: files and the environment. None of them is shown in an error.

use std::path::Path;

use polywire_core::Result;

use crate::error::config;

/// Reads `file:PATH` or `env:VARIABLE`. What is a secret itself is refused, and not repeated.
pub(crate) fn from_source(source: &str) -> Result<String> {
    match source.split_once(':') {
        Some(("file", path)) => from_file(Path::new(path)),
        Some(("env", variable)) => from_env(variable),
        _ => Err(config(
            "a secret stands in a file (file:/path) or in the environment (env:NAME), and not here",
        )),
    }
}

pub(crate) fn from_file(path: &Path) -> Result<String> {
    warn_if_open(path);
    std::fs::read_to_string(path).map_err(|error| {
        config("cannot read the file").with("file", path.display()).with("because", error)
    })
}

pub(crate) fn from_env(variable: &str) -> Result<String> {
    // The error of the standard library would repeat what is not Unicode.
    std::env::var(variable).map_err(|_| {
        config("the environment does not have this variable, or not as text")
            .with("variable", variable)
    })
}

#[cfg(unix)]
fn warn_if_open(path: &Path) {
    use std::os::unix::fs::PermissionsExt;

    let mode = std::fs::metadata(path).map(|meta| meta.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        tracing::warn!(file = %path.display(), "a file of secrets can be read by others");
    }
}

#[cfg(not(unix))]
fn warn_if_open(_: &Path) {}
