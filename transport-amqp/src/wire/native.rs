//! Our own convention.
//!
//! | property | request | reply |
//! |---|---|---|
//! | exchange, routing key | the default exchange, the service's queue | the default exchange, the request's `reply_to` |
//! | `type` | the method | |
//! | `correlation_id` | `REQUESTER-CALL`, two numbers | as in the request |
//! | `message_id` | as the correlation id | `line-NUMBER` |
//! | `reply_to` | the reply queue, or `amq.rabbitmq.reply-to` | |
//! | `content_type` | the media type of the body | the same |
//! | `expiration` | the time that is left, in milliseconds | |
//! | `priority` | the user's, if there is one | |
//! | `user_id` | the user of the connection, if known | |
//! | `delivery_mode` | 2, persistent | 2 |
//! | headers | the user's, as long strings | the user's; `polywire.fault` and the like, if it failed |
//!
//! | property | job | event |
//! |---|---|---|
//! | exchange, routing key | the default exchange, the job queue | the channel's exchange, the topic |
//! | `type` | the method, if there is one | the same |
//! | `message_id` | `TRANSPORT-JOB`, a random number and one that is counted | |
//! | `content_type` | the media type of the body | the same |
//! | `priority` | the user's, if there is one | the same |
//! | `user_id` | the user of the connection, if known | the same |
//! | `delivery_mode` | 2, persistent | 2 |
//! | headers | the user's, as long strings; `polywire.attempt` | the user's; `polywire.attempt`, `polywire.topic` |
//!
//! What is given back to a classic queue, or after a pause, or is put among the dead letters, is
//! published again, as it came but for `polywire.attempt`: which attempt it is now, a number; for a
//! `message_id`, if it has none; and for what `history.rs` writes. Since that goes through the
//! default exchange, `polywire.topic` then says what the routing key said.

mod declines;
mod history;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use lapin::BasicProperties;
use lapin::message::Delivery as Raw;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use polywire_core::message::{CallId, ReplyTo};
use polywire_core::transport::Abandoned;
use polywire_core::{
    Address, Body, Code, Deadline, Error, ErrorKind, Fault, Headers, Identity, Limits, Message,
    Result,
};

use super::{Again, Correlation, Declines, Garbled, Publishing, Wire};

/// Our own convention.
pub(crate) struct Native;

/// Headers that begin with this are ours.
const RESERVED: &str = "polywire.";
const FAULT_CODE: &str = "polywire.fault";
const FAULT_KIND: &str = "polywire.fault.kind";
const FAULT_MESSAGE: &str = "polywire.fault.message";
const FAULT_DETAILS: &str = "polywire.fault.details";
const ATTEMPT: &str = "polywire.attempt";
const TOPIC: &str = "polywire.topic";
/// How many milliseconds a request has left that waited before it was given to somebody else.
const LEFT: &str = "polywire.left";
/// What the broker's names for the ways back of direct replies begin with.
const DIRECT: &str = "amq.rabbitmq.reply-to";
/// In which quorum queues count how often a delivery came back.
const DELIVERY_COUNT: &str = "x-delivery-count";
/// In which RabbitMQ reads to which queues a message goes besides.
const CARBON_COPY: &str = "CC";
/// Words that names of ours other than those of request queues begin with.
const KINDS: [&str; 5] = ["reply", "jobs", "events", "dead", "retry"];
const PREFIX: &str = "polywire.";
const JOBS: &str = "polywire.jobs.";
const DEAD: &str = "polywire.dead.";
const RETRY: &str = "polywire.retry.";

impl Wire for Native {
    fn request_queue(&self, service: &Address) -> Result<ShortString> {
        if service.words().next().is_some_and(|word| KINDS.contains(&word)) {
            let error =
                Error::new(ErrorKind::Config, "this name would be that of another kind of queue");
            return Err(error.with("service", service).unsent());
        }
        short("service", format!("polywire.{service}"))
    }

    fn job_queue(&self, queue: &Address) -> Result<ShortString> {
        short("queue", format!("polywire.jobs.{queue}"))
    }

    fn dead_queue(&self, of: &ShortString) -> Result<ShortString> {
        short("dead letter queue", format!("{DEAD}{}", unprefixed(of)))
    }

    // The border to the number is the last empty word.
    fn retry_queue(&self, of: &ShortString, pause: Duration) -> Result<ShortString> {
        short("retry queue", format!("{RETRY}{}..{}", unprefixed(of), pause.as_millis()))
    }

    fn event_exchange(&self, channel: &Address) -> Result<ShortString> {
        short("channel", format!("polywire.events.{channel}"))
    }

    // No address holds an empty word, so that the border between the two is where the only one is.
    fn group_queue(&self, channel: &Address, group: &Address) -> Result<ShortString> {
        short("channel and group", format!("polywire.events.{channel}..group.{group}"))
    }

    fn own_queue(&self, channel: &Address, number: u128) -> Result<ShortString> {
        short("channel", format!("polywire.events.{channel}..own.{number:032x}"))
    }

    fn encode_request(
        &self,
        queue: &ShortString,
        reply_queue: &ShortString,
        requester: u64,
        message: Message,
        persistent: bool,
    ) -> Result<Publishing> {
        let mut properties = common(&message, persistent)?;
        if let Some(deadline) = message.deadline {
            properties = properties
                .with_expiration(short("expiration", deadline.remaining_ms().to_string())?);
        }
        if let Some(call) = message.id {
            let id = short("correlation id", format!("{requester}-{call}"))?;
            properties = properties.with_correlation_id(id.clone()).with_message_id(id);
            properties = properties.with_reply_to(reply_queue.clone());
        }
        Ok(Publishing::to_queue(queue.clone(), properties, message.body.into_bytes()).signed())
    }

    // There in each virtual host, so that nobody has to make it.
    fn control_exchange(&self) -> ShortString {
        "amq.direct".into()
    }

    fn abandoned_key(&self, service: &Address) -> Result<ShortString> {
        short("service", format!("polywire.abandoned.{service}"))
    }

    fn encode_abandoned(
        &self,
        key: &ShortString,
        reply_queue: &ShortString,
        correlation: Correlation,
    ) -> Result<Publishing> {
        let Correlation { requester, call } = correlation;
        let id = short("correlation id", format!("{requester}-{call}"))?;
        let properties = BasicProperties::default().with_delivery_mode(1).with_correlation_id(id);
        let properties = properties.with_reply_to(reply_queue.clone());
        let (mandatory, signed, body) = (false, false, Bytes::new());
        let (exchange, routing_key) = (self.control_exchange(), key.clone());
        Ok(Publishing { exchange, routing_key, mandatory, signed, properties, body })
    }

    fn decode_abandoned(&self, properties: &BasicProperties) -> Option<Abandoned> {
        // As both are read of a request.
        let call = self.correlation_of(properties)?.call;
        Some(Abandoned::new(ReturnAddress::read(properties)?, call))
    }

    fn encode_reply(&self, message: Message, persistent: bool) -> Result<Publishing> {
        let mut properties = common(&message, persistent)?;
        let address = message.reply_to.as_ref().and_then(ReturnAddress::of);
        let address = address
            .ok_or_else(|| Error::new(ErrorKind::Unroutable, "the request named no reply queue"))?;
        if let Some(id) = address.correlation_id {
            properties = properties.with_correlation_id(id);
        }
        // The broker holds that nothing takes a direct reply, and would return it even so.
        let mandatory = !address.queue.as_str().starts_with(DIRECT);
        let publishing = Publishing::to_queue(address.queue, properties, message.body.into_bytes());
        Ok(Publishing { mandatory, ..publishing })
    }

    fn encode_job(
        &self,
        queue: &ShortString,
        id: &str,
        message: Message,
        persistent: bool,
    ) -> Result<Publishing> {
        let properties = common(&message, persistent)?.with_message_id(short("message id", id)?);
        Ok(Publishing::to_queue(queue.clone(), properties, message.body.into_bytes()).signed())
    }

    fn encode_event(
        &self,
        exchange: &ShortString,
        message: Message,
        persistent: bool,
    ) -> Result<Publishing> {
        let properties = common(&message, persistent)?;
        let topic = message.topic.as_ref();
        let topic = topic
            .ok_or_else(|| Error::new(ErrorKind::Config, "an event needs a topic").unsent())?;
        let (exchange, routing_key) = (exchange.clone(), short("topic", topic.as_str())?);
        // Nobody has to be interested.
        let (mandatory, signed, body) = (false, true, message.body.into_bytes());
        Ok(Publishing { exchange, routing_key, mandatory, signed, properties, body })
    }

    fn encode_again(
        &self,
        queue: &ShortString,
        origin: &ShortString,
        again: Again,
    ) -> Result<Publishing> {
        let Again {
            properties,
            topic,
            body,
            history,
            attempt,
            for_ever,
            deadline,
            declines,
            pause,
        } = again;
        let mut headers =
            properties.headers().as_ref().map(|table| table.inner().clone()).unwrap_or_default();
        // It would go to those queues again.
        headers.remove(CARBON_COPY);
        headers.insert(ATTEMPT.into(), AMQPValue::LongLongInt(attempt.into()));
        history::write(&mut headers, history.as_deref(), origin);
        declines::write(&mut headers, declines.as_ref());
        headers.remove(LEFT);
        if let Some(deadline) = deadline.filter(|_| !pause.is_zero()) {
            // The broker takes the expiration off what has waited.
            let left = deadline.remaining().saturating_sub(pause).as_millis().to_string();
            headers.insert(LEFT.into(), AMQPValue::LongString(left.into()));
        }
        if let Some(topic) = topic {
            headers.insert(TOPIC.into(), AMQPValue::LongString(topic.as_str().into()));
        }
        let properties = copied(&properties, for_ever).with_headers(headers.into());
        Ok(Publishing::to_queue(queue.clone(), properties, body))
    }

    fn encode_revived(&self, queue: &ShortString, letter: &Raw) -> Result<Publishing> {
        let mut history =
            letter.properties.headers().as_ref().and_then(history::read).unwrap_or_default();
        history.redriven();
        let again = Again::new(letter.properties.clone(), None, letter.data.clone().into(), 1);
        let again = Again { history: Some(history), for_ever: true, ..again };
        let mut copy = self.encode_again(queue, queue, again)?;
        if !queue.as_str().starts_with(JOBS) && !is_group_queue(queue) {
            // Whoever made a request has given up.
            copy.properties = without_return(&copy.properties);
        }
        Ok(copy)
    }

    fn decode_dead(&self, letter: &Raw) -> Message {
        let (mut message, properties) = (Message::default(), &letter.properties);
        message.method =
            properties.kind().as_ref().and_then(|method| Address::new(method.as_str()).ok());
        message.content_type =
            properties.content_type().as_ref().map(|format| format.as_str().into());
        let headers = properties.headers().as_ref();
        let topic = headers.and_then(|table| text(table.inner().get(TOPIC)?)?.ok());
        message.topic = topic.and_then(|topic| Address::new(topic).ok());
        match headers.map_or_else(|| Ok(Headers::new()), user_headers) {
            Ok(headers) => message.headers = headers,
            Err(error) => {
                let fault = Fault::new(Code::InvalidArguments, error.to_string());
                message.fault = Some(Box::new(fault));
            }
        }
        let attempts = headers.and_then(|table| number(table.inner().get(ATTEMPT)?)).unwrap_or(1);
        let count =
            headers.and_then(|table| number(table.inner().get(DELIVERY_COUNT)?)).unwrap_or(0);
        message.history = Some(history::read_dead(headers, attempts.saturating_add(count)));
        message.body = Body::from(letter.data.clone());
        message
    }

    fn decode_request(&self, raw: &mut Raw, limits: &Limits) -> Result<Message, Box<Garbled>> {
        let mut message = Message::default();
        message.reply_to = ReturnAddress::read(&raw.properties);
        // The number is for the caller; here it only says that there is a call.
        let correlation = self.correlation_of(&raw.properties);
        message.id = correlation.map(|correlation| correlation.call);
        match read_request(raw, limits, &mut message) {
            Ok(()) => Ok(message),
            Err(error) => Err(Box::new(Garbled { message, correlation, error })),
        }
    }

    fn decode_reply(
        &self,
        raw: Raw,
        limits: &Limits,
    ) -> Result<(Correlation, Message), Box<Garbled>> {
        let mut message = Message::default();
        let Some(correlation) = self.correlation_of(&raw.properties) else {
            let error = unreadable("its correlation id is not one of ours");
            return Err(Box::new(Garbled { message, correlation: None, error }));
        };
        message.id = Some(correlation.call);
        match read_reply(raw, limits, &mut message) {
            Ok(()) => Ok((correlation, message)),
            Err(error) => Err(Box::new(Garbled { message, correlation: Some(correlation), error })),
        }
    }

    fn decode_job(&self, raw: &mut Raw, limits: &Limits) -> Result<Message> {
        let mut message = Message::default();
        if let Some(method) = raw.properties.kind() {
            let method = Address::new(method.as_str());
            message.method =
                Some(method.map_err(|error| unreadable("its type").with_source(error))?);
        }
        read_common(raw, limits, &mut message)?;
        Ok(message)
    }

    fn decode_event(&self, raw: &mut Raw, limits: &Limits) -> Result<Message> {
        let again =
            raw.properties.headers().as_ref().and_then(|table| text(table.inner().get(TOPIC)?));
        let topic = match again {
            Some(topic) => topic.map_err(|_| unreadable("its topic is not UTF-8"))?,
            None => raw.routing_key.as_str().to_owned(),
        };
        let mut message = self.decode_job(raw, limits)?;
        let topic =
            Address::new(topic).map_err(|error| unreadable("its topic").with_source(error))?;
        message.topic = Some(topic);
        Ok(message)
    }

    fn reply_to(&self, properties: &BasicProperties) -> Option<ReplyTo> {
        ReturnAddress::read(properties)
    }

    fn declines(&self, properties: &BasicProperties) -> Option<Declines> {
        properties.headers().as_ref().and_then(declines::read)
    }

    fn attempt(&self, raw: &Raw) -> u32 {
        let count = |name| {
            raw.properties.headers().as_ref().and_then(|table| number(table.inner().get(name)?))
        };
        // A queue that counts also says that it delivers again: that is the same.
        let again = count(DELIVERY_COUNT).unwrap_or(0).max(u32::from(raw.redelivered));
        count(ATTEMPT).unwrap_or(1).max(1).saturating_add(again)
    }

    fn correlation_of(&self, properties: &BasicProperties) -> Option<Correlation> {
        let id = properties.correlation_id().as_ref().or(properties.message_id().as_ref())?;
        let (requester, call) = id.as_str().split_once('-')?;
        Some(Correlation { requester: requester.parse().ok()?, call: CallId(call.parse().ok()?) })
    }
}

/// Where a reply goes: the queue, and the correlation id that it must carry, whatever its form.
struct ReturnAddress {
    queue: ShortString,
    correlation_id: Option<ShortString>,
}

impl ReturnAddress {
    /// Reads the properties of a request. The two go into core's return address with a byte for
    /// their border.
    fn read(properties: &BasicProperties) -> Option<ReplyTo> {
        let queue = properties.reply_to().as_ref()?.as_str();
        let id = properties.correlation_id().as_ref().map_or("", ShortString::as_str);
        let length = u8::try_from(queue.len()).ok()?;
        let address = [&[length][..], queue.as_bytes(), id.as_bytes()].concat();
        Some(ReplyTo::new(address))
    }

    fn of(address: &ReplyTo) -> Option<Self> {
        let (length, rest) = address.as_bytes().split_first()?;
        let (queue, id) = rest.split_at_checked(usize::from(*length))?;
        let queue = ShortString::try_new(std::str::from_utf8(queue).ok()?).ok()?;
        let id = ShortString::try_new(std::str::from_utf8(id).ok()?).ok()?;
        Some(Self { queue, correlation_id: (!id.as_str().is_empty()).then_some(id) })
    }
}

/// The properties that all messages share.
fn common(message: &Message, persistent: bool) -> Result<BasicProperties> {
    let mut properties =
        BasicProperties::default().with_delivery_mode(if persistent { 2 } else { 1 });
    if let Some(content_type) = &message.content_type {
        properties = properties.with_content_type(short("content type", &**content_type)?);
    }
    if let Some(method) = &message.method {
        properties = properties.with_type(short("method", method.as_str())?);
    }
    if let Some(priority) = message.priority {
        properties = properties.with_priority(priority);
    }
    let headers = table(&message.headers, message.fault.as_deref())?;
    Ok(if headers.inner().is_empty() { properties } else { properties.with_headers(headers) })
}

/// The name of a queue without what all names of ours begin with.
fn unprefixed(queue: &ShortString) -> &str {
    let name = queue.as_str();
    name.strip_prefix(PREFIX).unwrap_or(name)
}

fn is_group_queue(queue: &ShortString) -> bool {
    queue.as_str().starts_with("polywire.events.")
}

/// All properties but the user who published: the broker takes a message of another user than ours
/// for a forgery, and closes the channel. What is to stay does not expire.
fn copied(original: &BasicProperties, for_ever: bool) -> BasicProperties {
    type Set = fn(BasicProperties, ShortString) -> BasicProperties;
    let expiration = if for_ever { &None } else { original.expiration() };
    let texts: [(&Option<ShortString>, Set); 8] = [
        (original.content_type(), BasicProperties::with_content_type),
        (original.content_encoding(), BasicProperties::with_content_encoding),
        (original.correlation_id(), BasicProperties::with_correlation_id),
        (original.reply_to(), BasicProperties::with_reply_to),
        (expiration, BasicProperties::with_expiration),
        (original.message_id(), BasicProperties::with_message_id),
        (original.kind(), BasicProperties::with_type),
        (original.app_id(), BasicProperties::with_app_id),
    ];
    let mut copy = BasicProperties::default();
    for (text, set) in texts {
        if let Some(text) = text {
            copy = set(copy, text.clone());
        }
    }
    if let Some(mode) = original.delivery_mode() {
        copy = copy.with_delivery_mode(*mode);
    }
    if let Some(priority) = original.priority() {
        copy = copy.with_priority(*priority);
    }
    if let Some(timestamp) = original.timestamp() {
        copy = copy.with_timestamp(*timestamp);
    }
    copy
}

/// What a request says that nobody is to answer.
fn without_return(original: &BasicProperties) -> BasicProperties {
    let mut copy =
        BasicProperties::default().with_delivery_mode(original.delivery_mode().unwrap_or(2));
    if let Some(method) = original.kind() {
        copy = copy.with_type(method.clone());
    }
    if let Some(content_type) = original.content_type() {
        copy = copy.with_content_type(content_type.clone());
    }
    match original.headers() {
        Some(headers) => copy.with_headers(headers.clone()),
        None => copy,
    }
}

fn table(headers: &Headers, fault: Option<&Fault>) -> Result<FieldTable> {
    let mut table = FieldTable::default();
    for (name, value) in headers.iter() {
        if name.starts_with(RESERVED) {
            let error = Error::new(
                ErrorKind::Config,
                "headers that begin with polywire. are not for users",
            );
            return Err(error.with("header", name).unsent());
        }
        table.insert(
            short("header", &**name)?,
            AMQPValue::LongString(value.as_bytes().to_vec().into()),
        );
    }
    if let Some(fault) = fault {
        let mut set = |name: &'static str, value: &[u8]| {
            table.insert(name.into(), AMQPValue::LongString(value.to_vec().into()));
        };
        set(FAULT_CODE, fault.code.as_str().as_bytes());
        set(FAULT_KIND, fault.kind.as_bytes());
        set(FAULT_MESSAGE, fault.message.as_bytes());
        set(FAULT_DETAILS, &fault.details);
    }
    Ok(table)
}

fn read_request(raw: &mut Raw, limits: &Limits, message: &mut Message) -> Result<()> {
    let properties = &raw.properties;
    let method =
        properties.kind().as_ref().ok_or_else(|| unreadable("it names no method in its type"))?;
    message.method = Some(Address::new(method.as_str())?);
    let left =
        || properties.headers().as_ref().and_then(|table| text(table.inner().get(LEFT)?)?.ok());
    if let Some(expiration) =
        properties.expiration().as_ref().map(ToString::to_string).or_else(left)
    {
        let ms = expiration.parse().map_err(|_| unreadable("its expiration is not a number"))?;
        message.deadline = Some(Deadline::after_ms(ms));
    }
    read_common(raw, limits, message)
}

fn read_reply(mut raw: Raw, limits: &Limits, message: &mut Message) -> Result<()> {
    if let Some(table) = raw.properties.headers() {
        message.fault = fault(table)?.map(Box::new);
    }
    read_common(&mut raw, limits, message)
}

fn read_common(raw: &mut Raw, limits: &Limits, message: &mut Message) -> Result<()> {
    let properties = &raw.properties;
    message.content_type =
        properties.content_type().as_ref().map(|format| ByteString::from(format.as_str()));
    message.priority = *properties.priority();
    // The broker takes nobody's word for it, and what is published again has none.
    message.peer =
        properties.user_id().as_ref().map(|user| Arc::new(Identity::User(user.as_str().into())));
    if let Some(table) = properties.headers() {
        message.headers = user_headers(table)?;
        message.history = history::read(table);
    }
    message.body = Body::from(std::mem::take(&mut raw.data));
    limits.check(message).inspect_err(|_| {
        // Whoever keeps what cannot be read keeps all of it.
        raw.data = std::mem::take(&mut message.body).into_bytes().into();
    })
}

fn user_headers(table: &FieldTable) -> Result<Headers> {
    let is_users = |name: &str| !name.starts_with(RESERVED) && !history::is_of_the_broker(name);
    let users = table.inner().iter().filter(|(name, _)| is_users(name.as_str()));
    users
        // Headers that the broker or another system wrote and that are no text are not for us.
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
        .map(|(name, value)| {
            let value = value.map_err(|_| {
                unreadable("a header is not UTF-8").with("header", name.escape_debug())
            })?;
            Ok((name, value))
        })
        .collect::<Result<Vec<_>>>()
        .map(Headers::from_iter)
}

fn text(value: &AMQPValue) -> Option<Result<String, std::string::FromUtf8Error>> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8(text.as_bytes().to_vec())),
        _ => None,
    }
}

/// A count, in whatever width of number another system wrote it.
fn number(value: &AMQPValue) -> Option<u32> {
    match *value {
        AMQPValue::ShortShortInt(n) => n.try_into().ok(),
        AMQPValue::ShortShortUInt(n) => Some(n.into()),
        AMQPValue::ShortInt(n) => n.try_into().ok(),
        AMQPValue::ShortUInt(n) => Some(n.into()),
        AMQPValue::LongInt(n) => n.try_into().ok(),
        AMQPValue::LongUInt(n) => Some(n),
        AMQPValue::LongLongInt(n) => n.try_into().ok(),
        _ => None,
    }
}

fn fault(table: &FieldTable) -> Result<Option<Fault>> {
    let bytes = |name| match table.inner().get(name) {
        Some(AMQPValue::LongString(value)) => Some(Bytes::copy_from_slice(value.as_bytes())),
        _ => None,
    };
    let text = |name| match bytes(name) {
        Some(value) => String::from_utf8(value.into())
            .map_err(|_| unreadable("a fault is not UTF-8").with("header", name)),
        None => Ok(String::new()),
    };
    let code = text(FAULT_CODE)?;
    if code.is_empty() {
        return Ok(None);
    }
    let fault =
        Fault::new(Code::from_name(&code), text(FAULT_MESSAGE)?).with_kind(text(FAULT_KIND)?);
    Ok(Some(fault.with_details(bytes(FAULT_DETAILS).unwrap_or_default())))
}

/// A short string of AMQP, which holds 255 bytes and no more.
fn short(what: &'static str, text: impl Into<String>) -> Result<ShortString> {
    let text = text.into();
    let length = text.len();
    ShortString::try_new(text).map_err(|_| {
        let error = Error::new(ErrorKind::TooLarge, "AMQP has room for 255 bytes here");
        error.with("what", what).with("size", length).with("limit", 255).unsent()
    })
}

fn unreadable(because: &'static str) -> Error {
    Error::new(ErrorKind::Codec, "the message cannot be read").with("because", because)
}

#[cfg(test)]
mod tests;
