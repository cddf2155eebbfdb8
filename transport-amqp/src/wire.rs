//! How a message lies in AMQP: pure functions.

mod native;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery as Raw;
use lapin::types::ShortString;
use polywire_core::{Address, CallId, Error, Limits, Message, Result};

pub(crate) use self::native::Native;

/// What is published: where to, and what.
#[derive(Debug)]
pub(crate) struct Publishing {
    /// The queue, by way of the default exchange.
    pub(crate) queue: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
}

/// Which call of which requester a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Correlation {
    pub(crate) requester: u64,
    pub(crate) call: CallId,
}

/// What arrived and cannot be read.
#[derive(Debug)]
pub(crate) struct Garbled {
    /// As much of the message as an answer needs.
    pub(crate) message: Message,
    /// Which call it belongs to, if that much can be read.
    pub(crate) correlation: Option<Correlation>,
    pub(crate) error: Error,
}

/// A convention for requests and replies.
pub(crate) trait Wire {
    /// The queue in which the requests of a service wait.
    fn request_queue(&self, service: &Address) -> Result<ShortString>;

    /// Lays out a request.
    fn encode_request(
        &self,
        queue: &ShortString,
        reply_queue: &ShortString,
        requester: u64,
        message: Message,
        persistent: bool,
    ) -> Result<Publishing>;

    /// Lays out the reply to whatever its `reply_to` says.
    fn encode_reply(&self, message: Message, persistent: bool) -> Result<Publishing>;

    /// Reads a request. Its number and return address are whatever the caller made of them.
    fn decode_request(&self, raw: Raw, limits: &Limits) -> Result<Message, Box<Garbled>>;

    /// Reads a reply, and whose it is.
    fn decode_reply(&self, raw: Raw, limits: &Limits) -> Result<(Correlation, Message), Box<Garbled>>;

    /// The request that a returned message was.
    fn correlation_of(&self, properties: &BasicProperties) -> Option<Correlation>;
}
