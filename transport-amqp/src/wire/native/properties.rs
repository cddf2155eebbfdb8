//! The properties of a message: those that all kinds share, and copies of those that arrived.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, ShortString};
use polywire_core::message::{CallId, MessageId};
use polywire_core::{Message, Result};

use super::headers::{ONCE, encode_headers};
use super::reply_address::reply_address;
use super::short_string::short_string;
use crate::wire::correlation::Correlation;
use crate::wire::deadline_stamp::KEEP_EXPIRED;

/// Encodes the properties that all kinds of messages share: delivery mode, content type, method,
/// priority, and headers with the fault.
pub(super) fn shared(message: &Message, persistent: bool) -> Result<BasicProperties> {
    let mut properties = BasicProperties::default()
        .with_delivery_mode(if persistent && !message.transient { 2 } else { 1 });
    if let Some(content_type) = &message.content_type {
        properties = properties.with_content_type(short_string("content type", &**content_type)?);
    }
    if let Some(method) = &message.method {
        properties = properties.with_type(short_string("method", method.as_str())?);
    }
    if let Some(priority) = message.priority {
        properties = properties.with_priority(priority);
    }
    let mut headers = encode_headers(&message.headers, message.fault.as_deref())?;
    if message.at_most_once {
        headers.insert(ONCE.into(), AMQPValue::Boolean(true));
    }
    if message.keep_expired {
        headers.insert(KEEP_EXPIRED.into(), AMQPValue::Boolean(true));
    }
    Ok(if headers.inner().is_empty() { properties } else { properties.with_headers(headers) })
}

/// Returns the correlation id of a call: `REQUESTER-CALL`.
pub(super) fn correlation_id(requester: u64, call: CallId) -> Result<ShortString> {
    short_string("correlation id", Correlation { requester, call }.text())
}

/// Returns the call of a request or a reply, if its id has our form.
///
/// A message without a correlation id may have the same as its message id.
pub(super) fn correlation(properties: &BasicProperties) -> Option<Correlation> {
    let id = properties.correlation_id().as_ref().or(properties.message_id().as_ref())?;
    parse_correlation(id.as_str())
}

/// Parses an id of the form `REQUESTER-CALL`; `None` for any other form.
pub(super) fn parse_correlation(id: &str) -> Option<Correlation> {
    let (requester, call) = id.split_once('-')?;
    Some(Correlation { requester: requester.parse().ok()?, call: CallId(call.parse().ok()?) })
}

/// Encodes a message id.
pub(super) fn with_message_id(properties: BasicProperties, id: &MessageId) -> BasicProperties {
    match short_string("message id", id.as_str()) {
        Ok(id) => properties.with_message_id(id),
        // An id has at most 255 bytes.
        Err(_) => properties,
    }
}

/// Decodes the message id that a sender gave.
///
/// Two other ids are none: that of a call without an id of its own, which is the correlation id,
/// and `line-NUMBER`, by which [`stamp`](crate::wire::OutgoingMessage::stamp) matches returned
/// messages. Either is unique in one process alone.
pub(super) fn message_id(properties: &BasicProperties) -> Option<MessageId> {
    let id = properties.message_id().as_ref()?;
    let is_of_call =
        || properties.correlation_id().as_ref() == Some(id) && correlation(properties).is_some();
    let is_of_line = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit());
    if id.as_str().strip_prefix("line-").is_some_and(is_of_line) || is_of_call() {
        return None;
    }
    MessageId::new(id.as_str()).ok()
}

/// Returns the id by which a handler knows a message. That of a call without an id of its own is
/// made of its reply address.
pub(super) fn id_for_receiver(properties: &BasicProperties) -> Option<MessageId> {
    let mut message = Message::default().with_message_id(message_id(properties));
    message.reply_to = reply_address(properties);
    message.id = correlation(properties).map(|correlation| correlation.call);
    message.id_for_receiver()
}

/// Copies all properties but the headers and the user id, and the expiration only on request.
///
/// The broker closes the channel of a message that names another user than that of the connection.
/// Stamping names the user where it is the same.
pub(super) fn republished(original: &BasicProperties, with_expiration: bool) -> BasicProperties {
    type Set = fn(BasicProperties, ShortString) -> BasicProperties;
    let expiration = if with_expiration { original.expiration() } else { &None };
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

/// Copies the properties of a request whose client no longer waits for a reply: delivery mode,
/// method, content type, headers, and the id by which the handler knows the request.
pub(super) fn without_reply(original: &BasicProperties) -> BasicProperties {
    let mut copy =
        BasicProperties::default().with_delivery_mode(original.delivery_mode().unwrap_or(2));
    if let Some(method) = original.kind() {
        copy = copy.with_type(method.clone());
    }
    if let Some(content_type) = original.content_type() {
        copy = copy.with_content_type(content_type.clone());
    }
    if let Some(headers) = original.headers() {
        copy = copy.with_headers(headers.clone());
    }
    match id_for_receiver(original) {
        Some(id) => with_message_id(copy, &id),
        None => copy,
    }
}
