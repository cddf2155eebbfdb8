//! Our own convention.
//!
//! | property | request | reply |
//! |---|---|---|
//! | exchange, routing key | the default exchange, the service's queue | the default exchange, the request's `reply_to` |
//! | `type` | the method | |
//! | `correlation_id` | `REQUESTER-CALL`, two numbers | as in the request |
//! | `message_id` | as the correlation id | |
//! | `reply_to` | the reply queue | |
//! | `content_type` | the media type of the body | the same |
//! | `expiration` | the time that is left, in milliseconds | |
//! | `delivery_mode` | 2, persistent | 2 |
//! | headers | the user's, as long strings | the user's; `polywire.fault` and the like, if it failed |

use bytes::Bytes;
use bytestring::ByteString;
use lapin::BasicProperties;
use lapin::message::Delivery as Raw;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use polywire_core::{
    Address, Body, CallId, Code, Deadline, Error, ErrorKind, Fault, Headers, Limits, Message, ReplyTo, Result,
};

use super::{Correlation, Garbled, Publishing, Wire};

/// Our own convention.
pub(crate) struct Native;

/// Headers that begin with this are ours.
const RESERVED: &str = "polywire.";
const FAULT_CODE: &str = "polywire.fault";
const FAULT_KIND: &str = "polywire.fault.kind";
const FAULT_MESSAGE: &str = "polywire.fault.message";
const FAULT_DETAILS: &str = "polywire.fault.details";

impl Wire for Native {
    fn request_queue(&self, service: &Address) -> Result<ShortString> {
        short("service", format!("polywire.{service}"))
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
        if let Some(method) = &message.method {
            properties = properties.with_type(short("method", method.as_str())?);
        }
        if let Some(deadline) = message.deadline {
            properties =
                properties.with_expiration(short("expiration", deadline.remaining_ms().to_string())?);
        }
        if let Some(call) = message.id {
            let id = short("correlation id", format!("{requester}-{call}"))?;
            properties = properties.with_correlation_id(id.clone()).with_message_id(id);
            properties = properties.with_reply_to(reply_queue.clone());
        }
        Ok(Publishing { queue: queue.clone(), properties, body: message.body.into_bytes() })
    }

    fn encode_reply(&self, message: Message, persistent: bool) -> Result<Publishing> {
        let mut properties = common(&message, persistent)?;
        let address = message.reply_to.as_ref().and_then(ReturnAddress::of);
        let address =
            address.ok_or_else(|| Error::new(ErrorKind::Unroutable, "the request named no reply queue"))?;
        if let Some(id) = address.correlation_id {
            properties = properties.with_correlation_id(id);
        }
        Ok(Publishing { queue: address.queue, properties, body: message.body.into_bytes() })
    }

    fn decode_request(&self, raw: Raw, limits: &Limits) -> Result<Message, Box<Garbled>> {
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

    fn decode_reply(&self, raw: Raw, limits: &Limits) -> Result<(Correlation, Message), Box<Garbled>> {
        let mut message = Message::default();
        let Some(correlation) = self.correlation_of(&raw.properties) else {
            let error = unreadable("its correlation id is not one of ours");
            return Err(Box::new(Garbled { message, correlation: None, error }));
        };
        message.id = Some(correlation.call);
        match read_common(raw, limits, &mut message) {
            Ok(()) => Ok((correlation, message)),
            Err(error) => Err(Box::new(Garbled { message, correlation: Some(correlation), error })),
        }
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
    /// Reads the properties of a request. The two go into core's return address with a byte for their border.
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

/// The properties that requests and replies share.
fn common(message: &Message, persistent: bool) -> Result<BasicProperties> {
    let mut properties = BasicProperties::default().with_delivery_mode(if persistent { 2 } else { 1 });
    if let Some(content_type) = &message.content_type {
        properties = properties.with_content_type(short("content type", &**content_type)?);
    }
    let headers = table(&message.headers, message.fault.as_deref())?;
    Ok(if headers.inner().is_empty() { properties } else { properties.with_headers(headers) })
}

fn table(headers: &Headers, fault: Option<&Fault>) -> Result<FieldTable> {
    let mut table = FieldTable::default();
    for (name, value) in headers.iter() {
        if name.starts_with(RESERVED) {
            let error = Error::new(ErrorKind::Config, "headers that begin with polywire. are not for users");
            return Err(error.with("header", name).unsent());
        }
        table.insert(short("header", &**name)?, AMQPValue::LongString(value.as_bytes().to_vec().into()));
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

fn read_request(raw: Raw, limits: &Limits, message: &mut Message) -> Result<()> {
    let properties = &raw.properties;
    let method = properties.kind().as_ref().ok_or_else(|| unreadable("it names no method in its type"))?;
    message.method = Some(Address::new(method.as_str())?);
    if let Some(expiration) = properties.expiration() {
        let ms = expiration.as_str().parse().map_err(|_| unreadable("its expiration is not a number"))?;
        message.deadline = Some(Deadline::after_ms(ms));
    }
    read_common(raw, limits, message)?;
    message.fault = None;
    Ok(())
}

fn read_common(raw: Raw, limits: &Limits, message: &mut Message) -> Result<()> {
    let properties = &raw.properties;
    message.content_type = properties.content_type().as_ref().map(|format| ByteString::from(format.as_str()));
    if let Some(table) = properties.headers() {
        message.fault = fault(table)?.map(Box::new);
        message.headers = user_headers(table)?;
    }
    message.body = Body::from(raw.data);
    limits.check(message)
}

fn user_headers(table: &FieldTable) -> Result<Headers> {
    let users = table.inner().iter().filter(|(name, _)| !name.as_str().starts_with(RESERVED));
    users
        // Headers that the broker or another system wrote and that are no text are not for us.
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
        .map(|(name, value)| {
            let value =
                value.map_err(|_| unreadable("a header is not UTF-8").with("header", name.escape_debug()))?;
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
    let fault = Fault::new(Code::from_name(&code), text(FAULT_MESSAGE)?).with_kind(text(FAULT_KIND)?);
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
