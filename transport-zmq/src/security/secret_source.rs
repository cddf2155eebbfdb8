//! Secrets from files and from the environment. No error reveals a secret.

use std::path::Path;

use polywire_core::Result;

use crate::error::config;

/// Reads a secret from `file:PATH` or `env:VARIABLE`.
///
/// # Errors
///
/// `Config` if the secret cannot be read, or for any other text. Such a text may be a secret, so
/// the error leaves it out.
pub(crate) fn from_source(source: &str) -> Result<String> {
    match source.split_once(':') {
        Some(("file", path)) => from_file(Path::new(path)),
        Some(("env", variable)) => from_env(variable),
        _ => Err(config(
            "cannot read a secret from a URL: name a file (file:/path) or an environment variable (env:NAME)",
        )),
    }
}

/// Reads a secret from a file. Logs a warning if other users may read the file.
pub(crate) fn from_file(path: &Path) -> Result<String> {
    warn_if_readable_by_others(path);
    std::fs::read_to_string(path).map_err(|error| {
        config("cannot read the file of a secret")
            .with("file", path.display())
            .with("because", error)
    })
}

/// Reads a secret from an environment variable.
pub(crate) fn from_env(variable: &str) -> Result<String> {
    // The error of the standard library would include a value that is not Unicode.
    std::env::var(variable).map_err(|_| {
        config("cannot read a secret: the environment variable is not set, or is not Unicode")
            .with("variable", variable)
    })
}

/// Logs a warning if the group or other users have any permission on the file.
#[cfg(unix)]
fn warn_if_readable_by_others(path: &Path) {
    use std::os::unix::fs::PermissionsExt;

    let mode = std::fs::metadata(path).map(|meta| meta.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        tracing::warn!(file = %path.display(), "other users can read a file of secrets");
    }
}

#[cfg(not(unix))]
fn warn_if_readable_by_others(_: &Path) {}
