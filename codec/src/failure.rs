//! The error that says where in a value decoding went wrong.

use std::error::Error as StdError;

use polywire_core::{Error, ErrorKind};
use serde_path_to_error::Path;

/// The error of a value that cannot be decoded at `path`.
pub(crate) fn undecodable<E: StdError + Send + Sync + 'static>(
    format: &str,
    path: &Path,
    source: E,
) -> Error {
    let error = Error::new(ErrorKind::Codec, format!("not the {format} that is expected"));
    let path = path.to_string();
    // The root is written as a dot: a path that says nothing.
    let error = if path == "." { error } else { error.with("path", path) };
    error.with_source(source)
}

/// The error of a value that cannot be encoded.
pub(crate) fn unencodable<E: StdError + Send + Sync + 'static>(format: &str, source: E) -> Error {
    Error::new(ErrorKind::Codec, format!("{format} cannot hold the value")).with_source(source)
}
