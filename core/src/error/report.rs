//! Error chains as text.

use std::error::Error as StdError;

/// Writes an error and its causes in one line, separated by colons.
pub(crate) fn report(error: &dyn StdError) -> String {
    let mut line = error.to_string();
    append_causes(&mut line, error.source());
    line
}

/// Appends a cause and its own causes to a line. A text that the line ends with is not repeated.
pub(super) fn append_causes(line: &mut String, first: Option<&(dyn StdError + 'static)>) {
    let mut cause = first;
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors repeat the text of their cause at the end.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
}
