//! Errors of codecs.

use std::error::Error as StdError;

use polywire_core::{Error, ErrorKind};
use serde_path_to_error::Path;

/// Returns the error of a value that cannot be decoded. The detail `path` names the malformed part
/// of the value; an error of the whole value has no path.
pub(crate) fn undecodable<E: StdError + Send + Sync + 'static>(
    format: &str,
    path: &Path,
    source: E,
) -> Error {
    let error = Error::new(
        ErrorKind::Codec,
        format!("cannot decode the {format}: the value does not match its type"),
    );
    let path = path.to_string();
    // A dot is the path of the root.
    let error = if path == "." { error } else { error.with("path", path) };
    error.with_source(source)
}

/// Returns the error of a value that the format cannot represent.
pub(crate) fn unencodable<E: StdError + Send + Sync + 'static>(format: &str, source: E) -> Error {
    Error::new(ErrorKind::Codec, format!("cannot encode the value: {format} cannot represent it"))
        .with_source(source)
}
