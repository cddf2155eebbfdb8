//! How a message lies in AMQP: pure functions.

mod native;

use std::time::Duration;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery as Raw;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use polywire_core::message::{CallId, History, ReplyTo};
use polywire_core::transport::Abandoned;
use polywire_core::{Address, Deadline, Error, Limits, Message, Result};

pub(crate) use self::native::Native;

/// What is published: where to, and what.
#[derive(Clone, Debug)]
pub(crate) struct Publishing {
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    /// Whether somebody has to take it.
    pub(crate) mandatory: bool,
    /// Whether it is from our user, and says so. What somebody else sent and we publish again is
    /// not.
    pub(crate) signed: bool,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
}

impl Publishing {
    /// Into a queue, by way of the default exchange; the queue has to be there.
    pub(crate) fn to_queue(queue: ShortString, properties: BasicProperties, body: Bytes) -> Self {
        Self {
            exchange: "".into(),
            routing_key: queue,
            mandatory: true,
            signed: false,
            properties,
            body,
        }
    }

    /// As something that our user sends.
    pub(crate) fn signed(self) -> Self {
        Self { signed: true, ..self }
    }

    /// Says which user sends it, which the broker checks.
    pub(crate) fn sign(&mut self, user: ShortString) {
        self.properties = std::mem::take(&mut self.properties).with_user_id(user);
    }

    /// Lets the broker drop it at the deadline, by what is left until then.
    pub(crate) fn expire_by(&mut self, deadline: Deadline) {
        if let Ok(left) = ShortString::try_new(deadline.remaining_ms().to_string()) {
            self.properties = std::mem::take(&mut self.properties).with_expiration(left);
        }
    }

    /// Gives it a number by which it is known if it comes back. No id that anybody else gives looks
    /// like it.
    pub(crate) fn identify(&mut self, number: u64) {
        if let Ok(id) = ShortString::try_new(format!("line-{number}")) {
            self.properties = std::mem::take(&mut self.properties).with_message_id(id);
        }
    }

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
            properties.content_encoding(),
            properties.app_id(),
            properties.user_id(),
        ];
        let texts = texts.into_iter().flatten().map(|text| text.as_str().len() + 1);
        let headers = properties.headers().iter().flat_map(FieldTable::inner);
        let headers =
            headers.map(|(name, value)| name.as_str().len() + HEADER_OVERHEAD + value_len(value));
        HEADER_FIXED + texts.chain(headers).sum::<usize>()
    }
}

/// The frame's own 8 bytes, the 14 of every content header, the delivery mode, the priority, the
/// time stamp, and the length of the table.
const HEADER_FIXED: usize = 8 + 14 + 1 + 1 + 8 + 4;
/// The lengths of a name and of a value, and the value's type.
const HEADER_OVERHEAD: usize = 1 + 1 + 4;

/// The bytes of a value, without its length. All that we write are long strings, but what is
/// published again may hold anything.
fn value_len(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::LongString(text) => text.as_bytes().len(),
        AMQPValue::ByteArray(bytes) => bytes.len(),
        AMQPValue::FieldArray(values) => {
            values.as_slice().iter().map(|value| HEADER_OVERHEAD + value_len(value)).sum()
        }
        AMQPValue::FieldTable(table) => {
            let pairs = table.inner().iter();
            pairs
                .map(|(name, value)| name.as_str().len() + HEADER_OVERHEAD + value_len(value))
                .sum()
        }
        // Eight bytes at the most, four of which stand for the length that numbers do not have.
        _ => 4,
    }
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

/// A convention for all that we say to each other.
pub(crate) trait Wire {
    /// The queue in which the requests of a service wait.
    fn request_queue(&self, service: &Address) -> Result<ShortString>;

    /// The queue in which jobs wait.
    fn job_queue(&self, queue: &Address) -> Result<ShortString>;

    /// Where the dead letters of a queue are.
    fn dead_queue(&self, of: &ShortString) -> Result<ShortString>;

    /// Where something waits for so long before it goes to a queue.
    fn retry_queue(&self, of: &ShortString, pause: Duration) -> Result<ShortString>;

    /// The exchange to which the events of a channel go.
    fn event_exchange(&self, channel: &Address) -> Result<ShortString>;

    /// The queue of a group that subscribes to a channel.
    fn group_queue(&self, channel: &Address, group: &Address) -> Result<ShortString>;

    /// The queue of a subscriber that shares with nobody, with a number that is its alone.
    fn own_queue(&self, channel: &Address, number: u128) -> Result<ShortString>;

    /// Lays out a request.
    fn encode_request(
        &self,
        queue: &ShortString,
        reply_queue: &ShortString,
        requester: u64,
        message: Message,
        persistent: bool,
    ) -> Result<Publishing>;

    /// The exchange that carries what callers tell servers beside their requests.
    fn control_exchange(&self) -> ShortString;

    /// The routing key of what callers of a service tell that stop waiting.
    fn abandoned_key(&self, service: &Address) -> Result<ShortString>;

    /// Lays out that nobody waits any more for the outcome of a call.
    fn encode_abandoned(
        &self,
        key: &ShortString,
        reply_queue: &ShortString,
        correlation: Correlation,
    ) -> Result<Publishing>;

    /// Reads which call it is for whose outcome nobody waits.
    fn decode_abandoned(&self, properties: &BasicProperties) -> Option<Abandoned>;

    /// Lays out the reply to whatever its `reply_to` says.
    fn encode_reply(&self, message: Message, persistent: bool) -> Result<Publishing>;

    /// Lays out a job. The id tells it from all others, should it be returned.
    fn encode_job(
        &self,
        queue: &ShortString,
        id: &str,
        message: Message,
        persistent: bool,
    ) -> Result<Publishing>;

    /// Lays out an event.
    fn encode_event(
        &self,
        exchange: &ShortString,
        message: Message,
        persistent: bool,
    ) -> Result<Publishing>;

    /// Lays out what came from `origin` to be given back, or put elsewhere.
    fn encode_again(
        &self,
        queue: &ShortString,
        origin: &ShortString,
        again: Again,
    ) -> Result<Publishing>;

    /// Lays out a dead letter to be attempted as if for the first time, in the queue it came from.
    fn encode_revived(&self, queue: &ShortString, letter: &Raw) -> Result<Publishing>;

    /// Reads a dead letter, as far as it can be read.
    fn decode_dead(&self, letter: &Raw) -> Message;

    /// Reads a request, and takes its body. Its number and return address are whatever the caller
    /// made of them.
    fn decode_request(&self, raw: &mut Raw, limits: &Limits) -> Result<Message, Box<Garbled>>;

    /// Reads a reply, and whose it is.
    fn decode_reply(
        &self,
        raw: Raw,
        limits: &Limits,
    ) -> Result<(Correlation, Message), Box<Garbled>>;

    /// Reads a job, and takes its body.
    fn decode_job(&self, raw: &mut Raw, limits: &Limits) -> Result<Message>;

    /// Reads an event, and takes its body.
    fn decode_event(&self, raw: &mut Raw, limits: &Limits) -> Result<Message>;

    /// Where the reply to a request goes.
    fn reply_to(&self, properties: &BasicProperties) -> Option<ReplyTo>;

    /// Who has declined a request, as it says itself.
    fn declines(&self, properties: &BasicProperties) -> Option<Declines>;

    /// Which attempt at a delivery this is, counted from 1.
    fn attempt(&self, raw: &Raw) -> u32;

    /// The request that a returned message was.
    fn correlation_of(&self, properties: &BasicProperties) -> Option<Correlation>;
}

/// The servers that have declined a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declines {
    pub(crate) by: Vec<String>,
    /// What the last one said.
    pub(crate) because: String,
    /// How often it came again to one of them.
    pub(crate) passes: u32,
}

/// What is given back: what arrived, what happened to it, and which attempt it is.
#[derive(Clone, Debug)]
pub(crate) struct Again {
    pub(crate) properties: BasicProperties,
    /// What it is about, which its way through the default exchange would else lose.
    pub(crate) topic: Option<Address>,
    pub(crate) body: Bytes,
    pub(crate) history: Option<Box<History>>,
    pub(crate) attempt: u32,
    /// Whether it stays, though it was said to expire.
    pub(crate) for_ever: bool,
    /// When nobody waits for it any more, if it is a request.
    pub(crate) deadline: Option<Deadline>,
    /// Who has declined it, if it is given to somebody else for that.
    pub(crate) declines: Option<Declines>,
    /// How long it waits before it can be taken again.
    pub(crate) pause: Duration,
}

impl Again {
    /// What is given back as it came.
    pub(crate) fn new(
        properties: BasicProperties,
        topic: Option<Address>,
        body: Bytes,
        attempt: u32,
    ) -> Self {
        let (history, deadline, declines) = (None, None, None);
        let (for_ever, pause) = (false, Duration::ZERO);
        Self { properties, topic, body, history, attempt, for_ever, deadline, declines, pause }
    }

    /// Lets it stay: where it waits, or is dead, its time has not run out.
    pub(crate) fn for_ever(self) -> Self {
        Self { for_ever: true, ..self }
    }
}
