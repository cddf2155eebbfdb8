//! The failure to decode a request or a reply.

use polywire_core::{Error, Message};

use super::correlation::Correlation;

/// A request or a reply that cannot be decoded.
///
/// A server answers such a request with a fault, and a requester fails the call of such a reply.
/// Both need the parts that could be decoded.
#[derive(Debug)]
pub(crate) struct DecodeFailure {
    /// The parts of the message that could be decoded: at least the reply address, if it has one.
    pub(crate) message: Message,
    /// The call of the message, if its correlation id could be decoded.
    pub(crate) correlation: Option<Correlation>,
    /// The reason: [`Codec`](polywire_core::ErrorKind::Codec) for malformed messages,
    /// [`TooLarge`](polywire_core::ErrorKind::TooLarge) for messages over the limits.
    pub(crate) error: Error,
}
