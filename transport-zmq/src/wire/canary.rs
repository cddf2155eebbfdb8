//! Canaries: messages that a transport sends to its own sockets.
//!
//! A canary is a request or a job without a method, of the media type [`MEDIA_TYPE`]. It goes only
//! to a socket of the process that sends it, so no peer needs to know it.

use polywire_core::{Body, Message};

/// The media type of a canary.
const MEDIA_TYPE: &str = "application/vnd.polywire.canary";

/// Creates a canary with this body.
pub(crate) fn canary(body: impl Into<Body>) -> Message {
    Message::new(body).with_content_type(bytestring::ByteString::from_static(MEDIA_TYPE))
}

/// Returns whether a request or a job is a canary.
pub(crate) fn is_canary(message: &Message) -> bool {
    message.method.is_none()
        && message.content_type.as_ref().is_some_and(|media_type| **media_type == *MEDIA_TYPE)
}
