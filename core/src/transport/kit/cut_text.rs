//! Texts of errors, cut to the length that each hop may copy.

use crate::message::History;

/// Copies a text, cut to [`History::ERROR_MAX`] bytes at a character boundary.
pub(super) fn cut_text(text: &str) -> String {
    text[..text.floor_char_boundary(History::ERROR_MAX)].to_owned()
}
