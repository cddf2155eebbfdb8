//! Size limits of messages.

use crate::error::{Error, ErrorKind, Result};
use crate::message::{Headers, Message};

/// Size limits of outgoing and incoming messages.
///
/// A backend checks each outgoing message with [`Limits::check`], so that the send fails with an
/// error. A backend refuses a larger incoming message before it allocates memory for the message,
/// as far as its engine allows.
///
/// ```
/// use polywire_core::{ErrorKind, Limits, Message};
///
/// let limits = Limits { body_max: 4, ..Limits::default() };
/// let error = limits.check(&Message::new("12345")).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::TooLarge);
/// assert!(error.is_unsent());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Limits {
    /// Largest body, in bytes. With 0, only empty bodies are sent. The default is 64 MiB.
    pub body_max: usize,
    /// Most frames in a body. The default is 64.
    pub frames_max: usize,
    /// Most headers. The default is 64.
    pub headers_max: usize,
    /// Most bytes in all names and values of the headers. The default is 16 KiB.
    pub header_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_max: 64 << 20, frames_max: 64, headers_max: 64, header_bytes_max: 16 << 10 }
    }
}

impl Limits {
    /// Checks an outgoing message.
    ///
    /// # Errors
    ///
    /// Each error is [unsent](crate::Error::is_unsent).
    ///
    /// - [`ErrorKind::TooLarge`] if a limit is exceeded; the details name the limit and the size.
    /// - [`ErrorKind::Config`] if a header has a [reserved name](crate::Headers::RESERVED).
    pub fn check(&self, message: &Message) -> Result<()> {
        if let Some((what, size, max)) = self.excess(message) {
            return Err(Self::too_large(what, size, max));
        }
        match Self::reserved_header(message) {
            None => Ok(()),
            Some(name) => {
                let error = Error::new(
                    ErrorKind::Config,
                    "cannot send the message: header names that start with polywire. are reserved",
                );
                Err(error.with("header", name.escape_debug()).unsent())
            }
        }
    }

    /// Returns the first limit that a message exceeds: its name, the size, and the limit.
    pub(crate) fn excess(&self, message: &Message) -> Option<(&'static str, usize, usize)> {
        let Self { body_max, frames_max, headers_max, header_bytes_max } = *self;
        exceeds("body", message.body.len(), body_max)
            .or_else(|| exceeds("frames", message.body.frames().len(), frames_max))
            .or_else(|| exceeds("headers", message.headers.len(), headers_max))
            .or_else(|| exceeds("header bytes", message.headers.byte_len(), header_bytes_max))
    }

    /// Returns the name of the first header that is [reserved](crate::Headers::RESERVED).
    pub(crate) fn reserved_header(message: &Message) -> Option<&str> {
        let mut names = message.headers.iter().map(|(name, _)| &**name);
        names.find(|name| name.starts_with(Headers::RESERVED))
    }

    /// Returns the error of an outgoing message that exceeds a limit.
    pub(crate) fn too_large(what: &'static str, size: usize, max: usize) -> Error {
        let error = Error::new(ErrorKind::TooLarge, "cannot send the message: it exceeds a limit");
        error.with("what", what).with("size", size).with("limit", max).unsent()
    }
}

fn exceeds(what: &'static str, size: usize, max: usize) -> Option<(&'static str, usize, usize)> {
    (size > max).then_some((what, size, max))
}
