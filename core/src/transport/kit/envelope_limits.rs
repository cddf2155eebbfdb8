//! Limits of a message with its envelope, checked in one place for both directions.

use crate::error::{Error, ErrorKind, Result};
use crate::message::{Address, History, Limits, Message, MessageId};

/// Limits of a message whose head travels as an [`Envelope`](super::Envelope).
///
/// [`Limits`] bound bodies and headers, which programs choose. These limits also bound the other
/// parts of a message that may be of any length. Methods, topics and message ids have bounds of
/// their own: [`Address::MAX`] and [`MessageId::MAX`].
///
/// Both sides of a wire use the same limits, so that a receiver can read all that a sender may
/// send. A sender calls [`check`](Self::check) before it queues a message. A receiver reads at
/// most [`encoded_max`](Self::encoded_max) bytes of an envelope, then
/// [`Envelope::body_len`](super::Envelope::body_len) bytes of a body;
/// [`Envelope::into_message`](super::Envelope::into_message) checks the rest.
///
/// ```
/// use polywire_core::transport::kit::EnvelopeLimits;
/// use polywire_core::{Code, ErrorKind, Fault, Message};
///
/// let limits = EnvelopeLimits { fault_max: 1024, ..EnvelopeLimits::default() };
/// let reply = Message::failed(Fault::new(Code::Internal, "x".repeat(2_000)));
/// let error = limits.check(&reply).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::TooLarge);
/// assert_eq!(error.detail("what"), Some("fault"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct EnvelopeLimits {
    /// Limits on bodies and headers. The default is [`Limits::default`].
    pub message: Limits,
    /// Most bytes in the kind, the message and the details of a fault. The default is 64 KiB.
    pub fault_max: usize,
    /// Longest media type, in bytes. The default is 255.
    pub content_type_max: usize,
    /// Longest reply address, in bytes. The default is 1 KiB.
    pub reply_to_max: usize,
}

impl Default for EnvelopeLimits {
    fn default() -> Self {
        Self {
            message: Limits::default(),
            fault_max: 64 << 10,
            content_type_max: 255,
            reply_to_max: 1 << 10,
        }
    }
}

impl EnvelopeLimits {
    /// Checks an outgoing message.
    ///
    /// # Errors
    ///
    /// Each error is [unsent](Error::is_unsent).
    ///
    /// - [`ErrorKind::TooLarge`] if a limit is exceeded; the details name the limit and the size.
    /// - [`ErrorKind::Config`] if a header has a [reserved name](crate::Headers::RESERVED).
    pub fn check(&self, message: &Message) -> Result<()> {
        self.message.check(message)?;
        match self.excess_of_head(message) {
            None => Ok(()),
            Some((what, size, max)) => Err(Limits::too_large(what, size, max)),
        }
    }

    /// Checks a message that was decoded from the network.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if [`check`](Self::check) would have refused the message.
    pub fn check_decoded(&self, message: &Message) -> Result<()> {
        let excess = self.message.excess(message).or_else(|| self.excess_of_head(message));
        if let Some((what, size, max)) = excess {
            return Err(exceeded(what, size as u64, max));
        }
        match Limits::reserved_header(message) {
            None => Ok(()),
            Some(name) => {
                let text = "cannot decode the message: a header has a reserved name";
                Err(Error::new(ErrorKind::Codec, text).with("header", name.escape_debug()))
            }
        }
    }

    /// Returns an upper bound on the bytes of an encoded [`Envelope`](super::Envelope) within these
    /// limits.
    ///
    /// The bound holds for JSON, which writes a byte of text as up to six bytes, and for formats
    /// that are shorter. A receiver refuses a longer envelope before it allocates memory. With the
    /// default limits the bound is about 500 KiB.
    #[must_use]
    pub const fn encoded_max(&self) -> usize {
        let texts = (2 * Address::MAX + MessageId::MAX + 2 * History::ERROR_MAX)
            .saturating_add(self.content_type_max)
            .saturating_add(self.reply_to_max)
            .saturating_add(self.fault_max)
            .saturating_add(self.message.header_bytes_max);
        // The quotes, brackets and commas of a header, and the digits of the length of a frame.
        let parts = self
            .message
            .headers_max
            .saturating_mul(16)
            .saturating_add(self.message.frames_max.saturating_mul(24));
        texts.saturating_mul(BYTES_OF_ONE).saturating_add(parts).saturating_add(NAMES_MAX)
    }

    /// Returns the first limit that the head of a message exceeds: its name, the size, the limit.
    fn excess_of_head(&self, message: &Message) -> Option<(&'static str, usize, usize)> {
        let fault = message.fault.as_deref();
        let fault =
            fault.map_or(0, |fault| fault.kind.len() + fault.message.len() + fault.details.len());
        let content_type = message.content_type.as_ref().map_or(0, |format| format.len());
        let reply_to = message.reply_to.as_ref().map_or(0, |address| address.as_bytes().len());
        let sizes = [
            ("fault", fault, self.fault_max),
            ("content type", content_type, self.content_type_max),
            ("reply address", reply_to, self.reply_to_max),
        ];
        sizes.into_iter().find(|(_, size, max)| size > max)
    }
}

/// The most bytes that JSON writes for a byte of text.
const BYTES_OF_ONE: usize = 6;

/// The most bytes of the names of all fields, and of the numbers and marks.
const NAMES_MAX: usize = 2 << 10;

/// The error of a received message that exceeds a limit.
pub(super) fn exceeded(what: &'static str, size: u64, max: usize) -> Error {
    let error = Error::new(ErrorKind::Codec, "cannot decode the message: it exceeds a limit");
    error.with("what", what).with("size", size).with("limit", max)
}
