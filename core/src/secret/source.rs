//! Sources of secrets: files and environment variables.
//!
//! A backend reads the sources that its URL names: RabbitMQ's in
//! `transport-amqp/src/connection/secret_credentials.rs`, ZeroMQ's in
//! `transport-zmq/src/url/security_options.rs`.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::secret::Secret;
use crate::error::{Error, ErrorKind, Result};

/// Source of a secret, as a URL names it: `file:PATH` or `env:NAME`.
///
/// [`Display`](fmt::Display) writes the source, which is not secret.
///
/// ```
/// use polywire_core::secret::SecretSource;
///
/// let source: SecretSource = "file:/run/secrets/password".parse()?;
/// assert_eq!(source.to_string(), "file:/run/secrets/password");
/// // A secret in place of its source is refused, and the error leaves it out.
/// assert!(!"hunter2".parse::<SecretSource>().unwrap_err().to_string().contains("hunter2"));
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file that contains the secret alone.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// Largest file of secrets in bytes: thousands of keys.
const BYTES_MAX: u64 = 1 << 20;

impl SecretSource {
    /// Reads the secret. Line breaks at its end are removed, since most editors add one.
    ///
    /// Logs a warning for a file that other users can read or change, once for each file. The group
    /// of the file may read it, as `fsGroup` of Kubernetes lets it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], with the file or the variable: the file cannot be read, is larger
    /// than 1 MiB or is not UTF-8; the variable is not set or is not Unicode.
    pub fn read(&self) -> Result<Secret> {
        let text = match self {
            Self::File(path) => read_file(path)?,
            // The error of the standard library would include a value that is not Unicode.
            Self::Env(name) => std::env::var(name).map_err(|_| {
                invalid(
                    "cannot read a secret: the environment variable is not set, or is not Unicode",
                )
                .with("variable", name)
            })?,
        };
        Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
    }
}

impl FromStr for SecretSource {
    type Err = Error;

    /// Parses `file:PATH` or `env:NAME`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for any other text. Such a text may be a secret, so the error leaves
    /// it out.
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            _ => Err(invalid(
                "cannot read a secret: name a file (file:/path) or an environment variable (env:NAME)",
            )),
        }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
        }
    }
}

fn read_file(path: &Path) -> Result<String> {
    warn_if_open_to_others(path);
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 <= BYTES_MAX => Ok(text),
        Ok(_) => Err(invalid("cannot read the file of a secret: it is too large")
            .with("file", path.display())
            .with("bytes_max", BYTES_MAX)),
        Err(error) => Err(invalid("cannot read the file of a secret")
            .with("file", path.display())
            .with("because", error)),
    }
}

/// Logs a warning if other users have any permission on the file, or if the group may change it.
/// Each file has one line in the life of the process, since credentials are read again for each
/// connection.
#[cfg(unix)]
fn warn_if_open_to_others(path: &Path) {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Mutex, PoisonError};

    static LOGGED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

    let mode = std::fs::metadata(path).map(|meta| meta.permissions().mode());
    if !mode.is_ok_and(|mode| mode & 0o027 != 0) {
        return;
    }
    let is_first = LOGGED.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_path_buf());
    if is_first {
        tracing::warn!(file = %path.display(), "other users can read or change a file of secrets");
    }
}

#[cfg(not(unix))]
fn warn_if_open_to_others(_: &Path) {}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::Config, message).unsent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_read_without_the_line_break_at_its_end() {
        let path = std::env::temp_dir().join(format!("polywire-secret-{}", std::process::id()));
        std::fs::write(&path, "hunter2 \r\n\n").unwrap();
        let source: SecretSource = format!("file:{}", path.display()).parse().unwrap();
        assert_eq!(source.read().unwrap().reveal(), "hunter2 ");
        std::fs::write(&path, vec![b'x'; BYTES_MAX as usize + 1]).unwrap();
        let error = source.read().unwrap_err();
        assert_eq!(error.detail("bytes_max"), Some("1048576"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = source.read().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.detail("file"), Some(&*path.display().to_string()));
    }

    #[test]
    fn variable_that_is_not_set_is_named() {
        let source: SecretSource = "env:POLYWIRE_NO_SUCH_SECRET".parse().unwrap();
        let error = source.read().unwrap_err();
        assert_eq!(error.detail("variable"), Some("POLYWIRE_NO_SUCH_SECRET"));
    }

    #[test]
    fn text_that_names_no_source_is_refused_and_left_out_of_the_error() {
        for text in ["hunter2", "file:", "env:", "File:/hunter2", "http:hunter2", ""] {
            let error = text.parse::<SecretSource>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
