//! The failure to decode a message.

use polywire_core::message::CallId;
use polywire_core::{Address, Error};

/// A message that cannot be decoded.
#[derive(Debug)]
pub(crate) struct DecodeFailure {
    /// The call that the message belongs to, if the envelope reveals it.
    pub(crate) call: Option<CallId>,
    /// The service or queue that the message names, if the envelope reveals it.
    pub(crate) service: Option<Address>,
    /// The cause, with its position in the envelope.
    pub(crate) error: Error,
}
