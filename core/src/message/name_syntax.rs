//! Syntax of dotted names, which addresses and filters share.

/// Longest name in bytes.
pub(super) const MAX: usize = 200;

/// Returns the reason why `text` is not a name of dotted words. The words may be wildcards.
pub(super) fn invalid(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > MAX {
        return Some("it is longer than 200 bytes");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some("it contains white space or a control character");
    }
    text.split('.').any(str::is_empty).then_some("one of its dotted words is empty")
}

/// Returns whether `text` is a name of ASCII letters, digits, `-`, `_` and single dots: most names
/// are, and are checked in one pass.
pub(super) fn is_plain(text: &str) -> bool {
    let mut is_in_word = false;
    for byte in text.bytes() {
        let is_dot = byte == b'.';
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (is_dot && is_in_word))
        {
            return false;
        }
        is_in_word = !is_dot;
    }
    is_in_word && text.len() <= MAX
}

/// Returns at most 80 escaped characters of `text`, for an error message: the text may come from
/// an untrusted peer.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}
