//! Replies of services.

use crate::message::{Body, Message};

/// The outcome of a request: a result, or a [fault](Message::fault) that the service answered.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Reply {
    /// The result and its headers.
    pub message: Message,
}

impl Reply {
    /// Creates a reply with this body.
    #[must_use]
    pub fn new(body: impl Into<Body>) -> Self {
        Self { message: Message::new(body) }
    }
}

impl From<Message> for Reply {
    fn from(message: Message) -> Self {
        Self { message }
    }
}
