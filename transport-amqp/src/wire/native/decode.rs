//! Decodes AMQP deliveries to core's messages.
//!
//! Everything here comes from the network, so nothing panics.

use std::sync::Arc;

use bytestring::ByteString;
use lapin::BasicProperties;
use lapin::message::Delivery as RawDelivery;
use lapin::types::FieldTable;
use polywire_core::transport::Abandoned;
use polywire_core::{
    Address, Body, Code, Deadline, Fault, Headers, Identity, Limits, Message, Result,
};

use super::headers::{
    ACQUIRED_COUNT, ATTEMPT, CRASHES, DELIVERY_COUNT, EXPIRED, ONCE, TOPIC, check_well_formed,
    count, fault, text, undecodable, user_headers,
};
use super::properties::{correlation, message_id};
use super::reply_address::reply_address;
use super::{declined_by_headers, history_headers};
use crate::wire::correlation::Correlation;
use crate::wire::deadline_stamp::{REMAINING, keeps_expired};
use crate::wire::declined_by::Declines;
use crate::wire::decode_failure::DecodeFailure;

/// Decodes a request, and moves its body out of `raw`.
///
/// The call id in the message says only that the caller waits for a reply. Two callers may choose
/// the same.
///
/// # Errors
///
/// A [`DecodeFailure`] with the reply address, as far as the request has one, so that the caller
/// can be answered with a fault.
pub(crate) fn decode_request(
    raw: &mut RawDelivery,
    limits: &Limits,
) -> Result<Message, Box<DecodeFailure>> {
    let mut message = Message::default();
    message.reply_to = reply_address(&raw.properties);
    let correlation = correlation(&raw.properties);
    message.id = correlation.map(|correlation| correlation.call);
    match read_request(raw, limits, &mut message) {
        Ok(()) => Ok(message),
        Err(error) => Err(Box::new(DecodeFailure { message, correlation, error })),
    }
}

/// Decodes a reply and the call that it belongs to.
///
/// # Errors
///
/// A [`DecodeFailure`] with the call, if the correlation id is ours, so that the call can fail.
pub(crate) fn decode_reply(
    raw: RawDelivery,
    limits: &Limits,
) -> Result<(Correlation, Message), Box<DecodeFailure>> {
    let mut message = Message::default();
    let Some(correlation) = correlation(&raw.properties) else {
        let error = undecodable("its correlation id is not `REQUESTER-CALL`");
        return Err(Box::new(DecodeFailure { message, correlation: None, error }));
    };
    message.id = Some(correlation.call);
    match read_reply(raw, limits, &mut message) {
        Ok(()) => Ok((correlation, message)),
        Err(error) => {
            Err(Box::new(DecodeFailure { message, correlation: Some(correlation), error }))
        }
    }
}

/// Decodes a job, and moves its body out of `raw`.
///
/// # Errors
///
/// [`Codec`](polywire_core::ErrorKind::Codec) if the method is no address or a header is not UTF-8,
/// [`TooLarge`](polywire_core::ErrorKind::TooLarge) if the message exceeds the limits.
pub(crate) fn decode_job(raw: &mut RawDelivery, limits: &Limits) -> Result<Message> {
    check_well_formed(raw.properties.headers().as_ref())?;
    let mut message = Message::default();
    if let Some(method) = raw.properties.kind() {
        let method = Address::new(method.as_str());
        message.method = Some(method.map_err(|error| {
            undecodable("its property `type` is not an address").with_source(error)
        })?);
    }
    read_deadline(&raw.properties, &mut message)?;
    read_shared(raw, limits, &mut message)?;
    Ok(message)
}

/// Decodes an event, and moves its body out of `raw`.
///
/// The routing key is the topic, unless the event was published again.
///
/// # Errors
///
/// Those of [`decode_job`], and [`Codec`](polywire_core::ErrorKind::Codec) if the topic is no
/// address.
pub(crate) fn decode_event(raw: &mut RawDelivery, limits: &Limits) -> Result<Message> {
    check_well_formed(raw.properties.headers().as_ref())?;
    let republished =
        raw.properties.headers().as_ref().and_then(|table| text(table.inner().get(TOPIC)?));
    let topic = match republished {
        Some(topic) => topic.map_err(|_| undecodable("its topic is not UTF-8"))?,
        None => raw.routing_key.as_str().to_owned(),
    };
    // Before the body is moved out of `raw`: an undecodable delivery is dead-lettered whole.
    let topic = Address::new(topic)
        .map_err(|error| undecodable("its topic is not an address").with_source(error))?;
    let mut message = decode_job(raw, limits)?;
    message.topic = Some(topic);
    Ok(message)
}

/// Decodes a dead letter as far as possible. A header that is not UTF-8, or a malformed property,
/// becomes a fault in the message.
pub(crate) fn decode_dead_letter(raw: &RawDelivery) -> Message {
    let (mut message, properties) = (Message::default(), &raw.properties);
    message.message_id = message_id(properties);
    message.reply_to = reply_address(properties);
    message.id = correlation(properties).map(|correlation| correlation.call);
    message.method =
        properties.kind().as_ref().and_then(|method| Address::new(method.as_str()).ok());
    message.content_type =
        properties.content_type().as_ref().map(|content_type| content_type.as_str().into());
    let headers = properties.headers().as_ref();
    let topic = headers.and_then(|table| text(table.inner().get(TOPIC)?)?.ok());
    message.topic = topic.and_then(|topic| Address::new(topic).ok());
    let users = || headers.map_or_else(|| Ok(Headers::new()), user_headers);
    match check_well_formed(headers).and_then(|()| users()) {
        Ok(headers) => message.headers = headers,
        Err(error) => {
            let fault = Fault::new(Code::InvalidArguments, error.to_string());
            message.fault = Some(Box::new(fault));
        }
    }
    // The counts of the broker are of the dead-letter queue, where each look is a delivery. The
    // counts of the origin end with the dead-lettering.
    message.history = Some(history_headers::read_dead(headers, counted_attempt(raw)));
    message.body = Body::from(raw.data.clone());
    message
}

/// Decodes the cancellation of a call; `None` if the message is something else.
pub(crate) fn decode_cancel(properties: &BasicProperties) -> Option<Abandoned> {
    // The reply address and the call id must equal those of the request.
    let call = correlation(properties)?.call;
    let is_expired = properties.kind().as_ref().is_some_and(|kind| kind.as_str() == EXPIRED);
    Some(Abandoned::new(reply_address(properties)?, call).with_expired(is_expired))
}

/// Returns the servers that have declined a request.
pub(crate) fn decode_declines(properties: &BasicProperties) -> Option<Declines> {
    properties.headers().as_ref().and_then(declined_by_headers::read)
}

/// Returns the number of this attempt, counted from 1, without the redeliveries of the broker.
pub(crate) fn counted_attempt(raw: &RawDelivery) -> u32 {
    count_in(raw.properties.headers().as_ref(), ATTEMPT).unwrap_or(1).max(1)
}

/// Returns the number of consumers that ended while the message was their only suspect, without
/// the last one.
pub(crate) fn crashes(raw: &RawDelivery) -> u32 {
    count_in(raw.properties.headers().as_ref(), CRASHES).unwrap_or(0)
}

/// Returns the number of this attempt at a delivery, counted from 1.
pub(crate) fn attempt(raw: &RawDelivery) -> u32 {
    // A quorum queue counts redeliveries, and sets the flag as well. Both mean the same attempt.
    let redeliveries = redeliveries(raw).unwrap_or(0).max(u32::from(raw.redelivered));
    counted_attempt(raw).saturating_add(redeliveries)
}

/// Returns whether the broker has counted its deliveries of the message: a quorum queue does, from
/// the second delivery on.
pub(crate) fn is_counted(raw: &RawDelivery) -> bool {
    redeliveries(raw).is_some()
}

/// Returns the deliveries of a quorum queue before this one. RabbitMQ 4.3 has a count of those that
/// failed, and another one of all.
fn redeliveries(raw: &RawDelivery) -> Option<u32> {
    let headers = raw.properties.headers().as_ref();
    count_in(headers, DELIVERY_COUNT).max(count_in(headers, ACQUIRED_COUNT))
}

fn count_in(headers: Option<&FieldTable>, name: &str) -> Option<u32> {
    count(headers?.inner().get(name)?)
}

/// Reads the method, the deadline and the shared parts of a request. On an error, `message` has the
/// parts that were read before.
fn read_request(raw: &mut RawDelivery, limits: &Limits, message: &mut Message) -> Result<()> {
    let properties = &raw.properties;
    check_well_formed(properties.headers().as_ref())?;
    let method = properties
        .kind()
        .as_ref()
        .ok_or_else(|| undecodable("its property `type` does not name a method"))?;
    message.method = Some(Address::new(method.as_str())?);
    read_deadline(properties, message)?;
    read_shared(raw, limits, message)
}

/// Reads the time to live, and whether the message is kept after it.
fn read_deadline(properties: &BasicProperties, message: &mut Message) -> Result<()> {
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    let remaining = || text(headers?.get(REMAINING)?)?.ok();
    let expiration = properties.expiration().as_ref().map(ToString::to_string);
    if let Some(expiration) = expiration.or_else(remaining) {
        let ms = expiration.parse().map_err(|_| undecodable("its expiration is not a number"))?;
        message.deadline = Some(Deadline::after_ms(ms));
    }
    message.keep_expired = headers.is_some_and(keeps_expired);
    Ok(())
}

/// Reads the fault and the shared parts of a reply. A reply needs no method and no deadline.
fn read_reply(mut raw: RawDelivery, limits: &Limits, message: &mut Message) -> Result<()> {
    check_well_formed(raw.properties.headers().as_ref())?;
    if let Some(table) = raw.properties.headers() {
        message.fault = fault(table)?.map(Box::new);
    }
    read_shared(&mut raw, limits, message)
}

/// Reads the parts that all kinds of messages share, and checks the limits.
///
/// The body moves last. If the message exceeds the limits, the body moves back to `raw`.
fn read_shared(raw: &mut RawDelivery, limits: &Limits, message: &mut Message) -> Result<()> {
    let properties = &raw.properties;
    message.content_type = properties
        .content_type()
        .as_ref()
        .map(|content_type| ByteString::from(content_type.as_str()));
    message.priority = *properties.priority();
    message.message_id = message_id(properties);
    // The broker has verified the user id. Republished messages have none.
    message.peer =
        properties.user_id().as_ref().map(|user| Arc::new(Identity::User(user.as_str().into())));
    if let Some(table) = properties.headers() {
        message.at_most_once = table.inner().contains_key(ONCE);
        message.headers = user_headers(table)?;
        message.history = history_headers::read(table);
    }
    message.body = Body::from(std::mem::take(&mut raw.data));
    limits.check(message).inspect_err(|_| {
        // An undecodable delivery is dead-lettered whole.
        raw.data = std::mem::take(&mut message.body).into_bytes().into();
    })
}
