//! Bounds on what a message may hold.

use crate::error::{Error, ErrorKind, Result};
use crate::message::{Headers, Message};

/// How much a message may hold, on the way out and on the way in.
///
/// A backend checks outgoing messages with [`Limits::check`] before they leave, so that the caller
/// learns it; and refuses larger incoming ones before it makes room for them, wherever its engine
/// lets it.
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
    /// Bytes in a body. The default is 64 MiB.
    pub body_max: usize,
    /// Frames in a body. The default is 64.
    pub frames_max: usize,
    /// Number of headers. The default is 64.
    pub headers_max: usize,
    /// Bytes in all names and values of the headers. The default is 16 KiB.
    pub header_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_max: 64 << 20, frames_max: 64, headers_max: 64, header_bytes_max: 16 << 10 }
    }
}

impl Limits {
    /// Checks a message that is about to leave.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`], saying which bound is passed by how much, or [`ErrorKind::Config`]
    /// if a header has a [name that is not for users](crate::Headers::RESERVED); unsent, of
    /// course.
    pub fn check(&self, message: &Message) -> Result<()> {
        within("body", message.body.len(), self.body_max)?;
        within("frames", message.body.frames().len(), self.frames_max)?;
        within("headers", message.headers.len(), self.headers_max)?;
        within("header bytes", message.headers.byte_len(), self.header_bytes_max)?;
        match message.headers.iter().find(|(name, _)| name.starts_with(Headers::RESERVED)) {
            None => Ok(()),
            Some((name, _)) => {
                let error = Error::new(
                    ErrorKind::Config,
                    "headers that begin with polywire. are not for users",
                );
                Err(error.with("header", name.escape_debug()).unsent())
            }
        }
    }
}

fn within(what: &'static str, size: usize, max: usize) -> Result<()> {
    if size <= max {
        return Ok(());
    }
    let error = Error::new(ErrorKind::TooLarge, "the message is larger than the limit");
    Err(error.with("what", what).with("size", size).with("limit", max).unsent())
}
