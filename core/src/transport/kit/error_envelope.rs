//! Errors of this side as plain data.

use serde::{Deserialize, Serialize};

use super::cut_text::cut_text;
use crate::error::{Error, ErrorKind};
use crate::message::CallId;

/// Error as plain data, for any format of serde: a broker's answer that it could not do as asked.
///
/// It keeps all that code branches on. Details and causes become part of the text, which is cut at
/// [`History::ERROR_MAX`](crate::message::History::ERROR_MAX) bytes in both directions.
///
/// ```
/// use polywire_core::message::CallId;
/// use polywire_core::transport::kit::ErrorEnvelope;
/// use polywire_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Unroutable, "no server").with_call(CallId(7)).unsent();
/// let came = ErrorEnvelope::of(&error).into_error();
/// assert_eq!((came.kind(), came.call(), came.is_unsent()), (error.kind(), error.call(), true));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ErrorEnvelope {
    /// Kind, in the words of [`ErrorKind`]'s `Display`.
    pub kind: String,
    /// Text, with details and causes.
    pub text: String,
    /// Call that the error is limited to.
    pub call: Option<u64>,
    /// Set if the message was provably not processed.
    pub is_unsent: bool,
    /// Set if the stream that yielded the error has ended.
    pub is_fatal: bool,
}

impl ErrorEnvelope {
    /// Copies an error.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        Self {
            kind: error.kind().to_string(),
            text: cut_text(&error.to_string()),
            call: error.call().map(|call| call.0),
            is_unsent: error.is_unsent(),
            is_fatal: error.is_fatal(),
        }
    }

    /// Returns the error. A kind that this version does not know is [`ErrorKind::Rejected`].
    #[must_use]
    pub fn into_error(self) -> Error {
        let kind = ErrorKind::from_words(&self.kind).unwrap_or(ErrorKind::Rejected);
        let mut error = Error::new(kind, cut_text(&self.text));
        if let Some(call) = self.call {
            error = error.with_call(CallId(call));
        }
        if self.is_unsent {
            error = error.unsent();
        }
        if self.is_fatal { error.fatal() } else { error }
    }
}
