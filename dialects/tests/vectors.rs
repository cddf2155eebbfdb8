//! Messages of nameko, as they were captured from the running system, in both directions; and a
//! property: each request that the format can express survives both ways.

#![cfg(feature = "nameko")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail so")]

#[path = "support/json_values.rs"]
mod json_values;
#[path = "vectors/properties.rs"]
mod properties;
#[path = "vectors/replies.rs"]
mod replies;
#[path = "vectors/requests.rs"]
mod requests;
#[path = "vectors/topology.rs"]
mod topology;

use polywire_amqp::lapin::BasicProperties;
use polywire_amqp::{AmqpLayout, AmqpMessage};
use polywire_core::{Address, Dialect, Message};
use polywire_dialects::Nameko;
use serde_json::Value;

/// The properties of a message of nameko in JSON, without headers.
fn json_properties() -> BasicProperties {
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(2)
        .with_priority(0)
}

/// The properties of a message of nameko in MessagePack, without headers.
fn msgpack_properties() -> BasicProperties {
    json_properties()
        .with_content_type("application/x-msgpack".into())
        .with_content_encoding("binary".into())
}

fn address(text: &str) -> Address {
    Address::new(text.to_owned()).unwrap()
}

/// Reads a request to the service `peer_math`.
fn received(key: &str, properties: BasicProperties, body: &[u8]) -> Message {
    let request = AmqpMessage::new(key).unwrap().with_properties(properties);
    let request = request.with_body(body.to_vec());
    Nameko::new().decode_request(&address("peer_math"), request).unwrap()
}

/// Returns the reply to a request with this outcome.
fn replied(
    nameko: &Nameko,
    request: &Message,
    outcome: Result<&Value, &polywire_core::Fault>,
) -> AmqpMessage {
    let mut reply = Message::default().with_content_type(request.content_type.clone());
    nameko.encode_outcome(outcome, &mut reply).unwrap();
    nameko.encode_reply(reply.with_reply_to(request.reply_to.clone())).unwrap()
}

fn as_json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}
