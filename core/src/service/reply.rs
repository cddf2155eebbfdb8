//! Replies of services.

use crate::message::{Body, Message};

/// The outcome of a request: a result, or a [fault](Message::fault) that the service answered.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Reply {
    /// The result and its headers.
    ///
    /// Boxed, because a reply is moved through each layer.
    pub message: Box<Message>,
}

impl Reply {
    /// Creates a reply with this body.
    #[must_use]
    pub fn new(body: impl Into<Body>) -> Self {
        Self::from(Message::new(body))
    }
}

impl From<Message> for Reply {
    fn from(message: Message) -> Self {
        Self { message: Box::new(message) }
    }
}

impl From<Box<Message>> for Reply {
    fn from(message: Box<Message>) -> Self {
        Self { message }
    }
}
