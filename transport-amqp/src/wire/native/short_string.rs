//! AMQP short strings.

use lapin::types::ShortString;
use polywire_core::{Error, ErrorKind, Result};

/// Converts a text to a short string, which holds at most 255 bytes.
///
/// # Errors
///
/// [`ErrorKind::TooLarge`], unsent, with the name of the `field` that is too long.
pub(crate) fn short_string(field: &'static str, text: impl Into<String>) -> Result<ShortString> {
    let text = text.into();
    let length = text.len();
    ShortString::try_new(text).map_err(|_| {
        let error = Error::new(
            ErrorKind::TooLarge,
            "cannot encode the message: a field exceeds the 255 bytes of an AMQP short string",
        );
        error.with("field", field).with("size", length).with("limit", 255).unsent()
    })
}
