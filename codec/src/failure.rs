//! Errors of codecs.

use std::error::Error as StdError;
use std::fmt::{self, Write};

use polywire_core::{Error, ErrorKind};
use serde_path_to_error::Path;

/// The text of the cause of a decoding error, of at most [`TEXT_MAX`] bytes.
///
/// The errors of serde repeat a string of another type than expected, which can fill a body.
///
/// Text that is cut ends with an ellipsis, and the cut never splits a character. The error of serde
/// itself is not kept, so that an error does not hold a copy of the body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cause(String);

/// The longest text of a cause in bytes.
const TEXT_MAX: usize = 1024;

impl Cause {
    /// Shortens the text of an error.
    ///
    /// Writes the text of `error` piece by piece, and stops formatting at the first piece that does
    /// not fit. So no second copy of a long text is made.
    pub(crate) fn new(error: &dyn fmt::Display) -> Self {
        let mut cause = Self(String::new());
        // Fails only where the text is cut.
        let _ = write!(cause, "{error}");
        cause
    }
}

impl Write for Cause {
    /// Appends `text`, or the part of `text` that fits, followed by an ellipsis.
    ///
    /// Returns an error once text is cut, which ends the formatting.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_MAX.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        // The ellipsis may need the room of earlier pieces.
        self.0.truncate(self.0.floor_char_boundary(TEXT_MAX - '…'.len_utf8()));
        self.0.push('…');
        Err(fmt::Error)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Cause {}

/// Returns the error of a value that cannot be decoded into a `T`.
///
/// The detail `type` names `T` without its modules. The detail `path` names the malformed part of
/// the value, such as `[1].price`. An error of the whole value has no `path`. Both details are cut
/// as a [`Cause`] is. `format` is the name of the format in the message, such as `JSON`.
pub(crate) fn undecodable<T>(format: &str, path: Option<&Path>, cause: Cause) -> Error {
    let error = Error::new(
        ErrorKind::Codec,
        format!("cannot decode the {format}: the value does not match its type"),
    )
    .with("type", type_detail::<T>());
    // A dot is the path of the root.
    let path = path.map(|path| Cause::new(path).0).filter(|path| path != ".");
    let error = match path {
        Some(path) => error.with("path", path),
        None => error,
    };
    error.with_source(cause)
}

/// Returns the error of a body that goes on after a `T`. The detail `type` names `T` without its
/// modules.
#[cold]
pub(crate) fn unended<T>(format: &str) -> Error {
    Error::new(ErrorKind::Codec, format!("cannot decode the {format}: data follows the value"))
        .with("type", type_detail::<T>())
}

/// Returns the name of a type without its modules, cut as a [`Cause`] is.
fn type_detail<T>() -> Cause {
    Cause::new(&short_name(std::any::type_name::<T>()))
}

/// Removes the modules from the name of a type: `Vec<String>` for
/// `alloc::vec::Vec<alloc::string::String>`.
///
/// `name` has the form that `std::any::type_name` returns. A path is a run of letters, digits, `_`
/// and colons, and everything between paths is kept: brackets, commas, spaces, references.
fn short_name(name: &str) -> String {
    let mut short = String::new();
    let mut rest = name;
    while let Some(at) = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':') {
        let (path, after) = rest.split_at(at);
        short.push_str(last_of(path));
        let end = after.find(|c: char| c.is_alphanumeric() || c == '_').unwrap_or(after.len());
        short.push_str(&after[..end]);
        rest = &after[end..];
    }
    short + last_of(rest)
}

/// Returns the last segment of a path.
///
/// A path without `::` is returned as it is.
fn last_of(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

/// Returns the error of a value that the format cannot represent.
///
/// `source` is the error of the serializer, and becomes the cause. The detail `type` is missing
/// here, since the caller has the value at hand.
pub(crate) fn unencodable<E: StdError + Send + Sync + 'static>(format: &str, source: E) -> Error {
    Error::new(ErrorKind::Codec, format!("cannot encode the value: {format} cannot represent it"))
        .with_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_pieces_is_cut_at_the_bound() {
        let second = "größer";
        for length in TEXT_MAX - 2 * second.len()..=TEXT_MAX + 1 {
            let first = "a".repeat(length);
            let Cause(text) = Cause::new(&format_args!("{first}{second}"));
            assert!(text.len() <= TEXT_MAX, "{} bytes", text.len());
            assert_eq!(text.ends_with('…'), length + second.len() > TEXT_MAX, "{length}");
        }
    }

    #[test]
    fn names_of_types_have_no_modules() {
        for (name, short) in [
            ("u32", "u32"),
            ("alloc::vec::Vec<(alloc::string::String, f64)>", "Vec<(String, f64)>"),
            ("shop::api::Order", "Order"),
            ("[core::option::Option<&str>; 3]", "[Option<&str>; 3]"),
            ("()", "()"),
        ] {
            assert_eq!(short_name(name), short);
        }
    }
}
