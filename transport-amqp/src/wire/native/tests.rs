//! Tests of messages that are encoded, stamped and decoded again.

mod batches;
mod jobs_and_events;
mod message_ids;
mod republished;
mod requests;

use std::time::Duration;

use lapin::message::Delivery as RawDelivery;
use lapin::types::ShortString;
use polywire_core::message::{CallId, MessageId};
use polywire_core::{Address, Deadline, Message};

use super::{encode_request, request_queue};
use crate::wire::OutgoingMessage;

/// Returns the delivery of a published message, stamped without a user.
fn delivered(message: OutgoingMessage) -> RawDelivery {
    delivered_by(None, message)
}

/// Returns the delivery of a published message, stamped with the verified user of its channel.
fn delivered_by(user: Option<&str>, mut message: OutgoingMessage) -> RawDelivery {
    message.stamp(user.map(ShortString::from).as_ref(), || 0);
    let OutgoingMessage { exchange, routing_key, properties, body, .. } = message;
    let mut raw = RawDelivery::mock(1, exchange, routing_key, false, body.to_vec());
    raw.properties = properties;
    raw
}

fn address(text: &str) -> Address {
    Address::new(text).unwrap()
}

fn request() -> Message {
    let mut message =
        Message::request(address("prüfen.检查"), Deadline::after(Duration::from_secs(5)));
    message.id = Some(CallId(42));
    message.content_type = Some("application/json".into());
    message.headers = [("größe", "目"), ("empty", "")].into_iter().collect();
    message.body = (&b"[1]"[..]).into();
    message
}

fn encoded(message: Message) -> OutgoingMessage {
    let queue = request_queue(&address("größen")).unwrap();
    encode_request(&queue, &"replies".into(), 7, message, true).unwrap()
}

/// Returns a job with an id. Its headers are in the order of their names, in which they are
/// decoded.
fn job() -> Message {
    let mut message = request();
    (message.method, message.id, message.deadline) = (None, None, None);
    message.headers = [("empty", ""), ("größe", "目")].into_iter().collect();
    message.with_message_id(MessageId::new("1-2").unwrap())
}
