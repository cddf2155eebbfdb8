//! Encodes core's messages as AMQP messages.
//!
//! All functions fail unsent with [`ErrorKind::TooLarge`] if a field exceeds the 255 bytes of a
//! short string, and with [`ErrorKind::Config`] for a user header with the reserved prefix.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery as RawDelivery;
use lapin::types::{AMQPValue, ShortString};
use polywire_core::message::MessageId;
use polywire_core::{Deadline, Error, ErrorKind, Message, Result};

use super::headers::{ATTEMPT, CARBON_COPY, CRASHES, EXPIRED, TOPIC};
use super::queue_and_exchange_names::{CANCEL_EXCHANGE, is_request_queue};
use super::reply_address::ReplyAddress;
use super::short_string::short_string;
use super::{declined_by_headers, history_headers, properties};
use crate::wire::correlation::Correlation;
use crate::wire::deadline_stamp;
use crate::wire::outgoing::{MessageSender, OutgoingMessage};
use crate::wire::republished_delivery::Republish;

/// Encodes a request to a service.
///
/// A message without a call id is a one-way call, and gets no reply address. Its deadline becomes
/// the expiration when the message is stamped.
pub(crate) fn encode_request(
    queue: &ShortString,
    reply_queue: &ShortString,
    requester: u64,
    message: Message,
    persistent: bool,
) -> Result<OutgoingMessage> {
    let mut properties = properties::shared(&message, persistent)?;
    if let Some(call) = message.id {
        let id = properties::correlation_id(requester, call)?;
        properties = properties.with_correlation_id(id.clone()).with_message_id(id);
        properties = properties.with_reply_to(reply_queue.clone());
    }
    if let Some(id) = &message.message_id {
        properties = properties::with_message_id(properties, id);
    }
    let (deadline, keep_expired) = (message.deadline, message.keep_expired);
    let request = OutgoingMessage::to_queue(queue.clone(), properties, message.body.into_bytes());
    Ok(OutgoingMessage { deadline, keep_expired, ..request.with_user_id() })
}

/// Encodes the cancellation of a call, for the servers of its service.
///
/// It is neither persistent nor mandatory, and has the reply address and correlation id of its
/// request, by which servers find the call.
pub(crate) fn encode_cancel(
    key: &ShortString,
    reply_queue: &ShortString,
    call: Correlation,
    is_expired: bool,
) -> Result<OutgoingMessage> {
    let id = properties::correlation_id(call.requester, call.call)?;
    let mut properties = BasicProperties::default().with_delivery_mode(1).with_correlation_id(id);
    if is_expired {
        properties = properties.with_type(EXPIRED.into());
    }
    Ok(OutgoingMessage {
        exchange: CANCEL_EXCHANGE.into(),
        routing_key: key.clone(),
        mandatory: false,
        sender: MessageSender::Unnamed,
        deadline: None,
        keep_expired: false,
        is_foreign: false,
        properties: properties.with_reply_to(reply_queue.clone()),
        body: Bytes::new(),
    })
}

/// Encodes a reply to the address in its `reply_to`.
///
/// # Errors
///
/// [`ErrorKind::Unroutable`] if the request had no reply address, besides those of all messages.
pub(crate) fn encode_reply(message: Message, persistent: bool) -> Result<OutgoingMessage> {
    let mut properties = properties::shared(&message, persistent)?;
    let address = message.reply_to.as_ref().and_then(ReplyAddress::parse);
    let address = address.ok_or_else(|| {
        Error::new(ErrorKind::Unroutable, "cannot reply: the request has no reply address")
    })?;
    // The broker returns each mandatory direct reply, although it has delivered it.
    let mandatory = !address.is_direct();
    if let Some(id) = address.correlation_id {
        properties = properties.with_correlation_id(id);
    }
    let reply = OutgoingMessage::to_queue(address.queue, properties, message.body.into_bytes());
    Ok(OutgoingMessage { mandatory, ..reply })
}

/// Encodes a job. Returned messages are matched by its id. Two jobs with one id are the same work,
/// so that the one may stand for the other.
pub(crate) fn encode_job(
    queue: &ShortString,
    message: Message,
    persistent: bool,
) -> Result<OutgoingMessage> {
    let properties = properties::shared(&message, persistent)?;
    let id = message.message_id.unwrap_or_else(MessageId::unique);
    let properties = properties::with_message_id(properties, &id);
    let (deadline, keep_expired) = (message.deadline, message.keep_expired);
    let job = OutgoingMessage::to_queue(queue.clone(), properties, message.body.into_bytes());
    Ok(OutgoingMessage { deadline, keep_expired, ..job.with_user_id() })
}

/// Encodes an event. It is not mandatory, since a channel need not have subscribers.
///
/// # Errors
///
/// [`ErrorKind::Config`], unsent, if the message has no topic, besides those of all messages.
pub(crate) fn encode_event(
    exchange: &ShortString,
    message: Message,
    persistent: bool,
) -> Result<OutgoingMessage> {
    let mut properties = properties::shared(&message, persistent)?;
    if let Some(id) = &message.message_id {
        properties = properties::with_message_id(properties, id);
    }
    let topic = message.topic.as_ref().ok_or_else(|| {
        Error::new(ErrorKind::Config, "cannot publish the event: it has no topic").unsent()
    })?;
    Ok(OutgoingMessage {
        exchange: exchange.clone(),
        routing_key: short_string("topic", topic.as_str())?,
        mandatory: false,
        sender: MessageSender::Ours,
        deadline: message.deadline,
        keep_expired: message.keep_expired,
        is_foreign: false,
        properties,
        body: message.body.into_bytes(),
    })
}

/// Encodes a delivery of queue `origin` for another attempt, or for the dead-letter queue.
///
/// The copy keeps all properties and headers of the original, except for those that
/// [the module](super) lists. It names our user as its sender only if the original does.
pub(crate) fn encode_republished(
    queue: &ShortString,
    origin: &ShortString,
    delivery: Republish,
) -> Result<OutgoingMessage> {
    let headers = delivery.properties.headers().as_ref();
    let mut headers = headers.map(|table| table.inner().clone()).unwrap_or_default();
    // The broker would copy the message to these queues again.
    headers.remove(CARBON_COPY);
    headers.insert(ATTEMPT.into(), AMQPValue::LongLongInt(delivery.attempt.into()));
    history_headers::write(&mut headers, delivery.history.as_deref(), origin);
    declined_by_headers::write(&mut headers, delivery.declines.as_ref());
    headers.remove(CRASHES);
    if let Some(crashes) = delivery.crashes {
        headers.insert(CRASHES.into(), AMQPValue::LongLongInt(crashes.into()));
    }
    deadline_stamp::remove(&mut headers);
    // What is kept must not expire in a buffer. A one-way suspect may have begun in time. The next
    // receiver settles a job that has expired; its copy would never be published.
    let is_expired = delivery.deadline.is_some_and(Deadline::is_expired);
    let stays_one_way =
        (delivery.crashes.is_some() || is_expired) && delivery.properties.reply_to().is_none();
    let is_kept =
        (deadline_stamp::keeps_expired(&headers) || stays_one_way) && !delivery.without_expiration;
    let stays = is_kept || !delivery.delay.is_zero();
    if let Some(deadline) = delivery.deadline.filter(|_| stays) {
        deadline_stamp::write_delayed(&mut headers, deadline, delivery.delay);
    }
    if let Some(topic) = &delivery.topic {
        headers.insert(TOPIC.into(), AMQPValue::LongString(topic.as_str().into()));
    }
    let expires = !delivery.without_expiration && !is_kept;
    let properties = properties::republished(&delivery.properties, expires);
    let properties = properties.with_headers(headers.into());
    let copy = OutgoingMessage::to_queue(queue.clone(), properties, delivery.body);
    let deadline = delivery.deadline.filter(|_| expires);
    let original = delivery.properties.user_id().clone();
    let sender = original.map_or(MessageSender::Unnamed, MessageSender::Original);
    Ok(OutgoingMessage { deadline, sender, ..copy })
}

/// Encodes a dead letter for a new first attempt in the queue where it comes from.
///
/// The copy of a request has no reply address, since its client has stopped waiting.
pub(crate) fn encode_redriven(
    queue: &ShortString,
    dead_letter: &RawDelivery,
) -> Result<OutgoingMessage> {
    let properties = &dead_letter.properties;
    let mut history =
        properties.headers().as_ref().and_then(history_headers::read).unwrap_or_default();
    history.redriven();
    let copy = Republish::new(properties.clone(), None, dead_letter.data.clone().into(), 1);
    let copy = Republish { history: Some(history), ..copy.without_expiration() };
    let mut copy = encode_republished(queue, queue, copy)?;
    // A queue of the program's own may hold requests, too.
    if is_request_queue(queue) || copy.properties.reply_to().is_some() {
        copy.properties = properties::without_reply(&copy.properties);
    }
    Ok(copy)
}
