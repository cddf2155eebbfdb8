//! How a message lies in AMQP: pure functions.

mod native;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery as Raw;
use lapin::types::{AMQPValue, FieldTable, ShortString};
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

impl Publishing {
    /// The bytes of its content header, which AMQP cannot split: it has to fit into one frame.
    pub(crate) fn header_len(&self) -> usize {
        let properties = &self.properties;
        let texts = [
            properties.content_type(),
            properties.correlation_id(),
            properties.reply_to(),
            properties.expiration(),
            properties.message_id(),
            properties.kind(),
        ];
        let texts = texts.into_iter().flatten().map(|text| text.as_str().len() + 1);
        let headers = properties.headers().iter().flat_map(FieldTable::inner);
        let headers =
            headers.map(|(name, value)| name.as_str().len() + HEADER_OVERHEAD + long_string_len(value));
        HEADER_FIXED + texts.chain(headers).sum::<usize>()
    }
}

/// The frame's own 8 bytes, the 14 of every content header, the delivery mode, and the length of the table.
const HEADER_FIXED: usize = 8 + 14 + 1 + 4;
/// The lengths of a name and of a value, and the value's type.
const HEADER_OVERHEAD: usize = 1 + 1 + 4;

/// All headers that we write are long strings.
fn long_string_len(value: &AMQPValue) -> usize {
    value.as_long_string().map_or(0, |text| text.as_bytes().len())
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
