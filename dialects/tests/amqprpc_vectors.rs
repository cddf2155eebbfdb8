//! Messages of amqprpc, as they were captured from the running systems of Python and Go, in both
//! directions; and properties: what the format can express survives both ways.

#![cfg(feature = "amqprpc")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail so")]

#[path = "support/json_values.rs"]
mod json_values;
#[path = "amqprpc_vectors/properties.rs"]
mod properties;
#[path = "amqprpc_vectors/replies.rs"]
mod replies;
#[path = "amqprpc_vectors/requests.rs"]
mod requests;

use polywire_amqp::lapin::BasicProperties;
use polywire_amqp::{AmqpLayout, AmqpMessage};
use polywire_core::{Address, Dialect, Fault, Message, Result};
use polywire_dialects::Amqprpc;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The queue for the replies to a client of Python.
const THEIR_QUEUE: &str = "aioamqp.gen-0d2bd1cb-4f4f-4a0c-a8a6-6a3d9a3e6c6b";

/// The argument of the captured calls.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Pair {
    #[serde(rename = "A")]
    a: i64,
    #[serde(rename = "B")]
    b: i64,
}

fn address(text: &str) -> Address {
    Address::new(text.to_owned()).unwrap()
}

/// The properties of a captured request, and of its reply: there are no others.
fn properties(method: &str, id: &str) -> BasicProperties {
    BasicProperties::default()
        .with_reply_to(method.into())
        .with_correlation_id(THEIR_QUEUE.into())
        .with_message_id(id.into())
}

/// Reads a request to the service `peer`.
fn received(wire: &Amqprpc, properties: BasicProperties, body: &[u8]) -> Result<Message> {
    let request = AmqpMessage::new("peer").unwrap().with_properties(properties);
    wire.decode_request(&address("peer"), request.with_body(body.to_vec()))
}

/// Returns the reply to a request with this outcome.
fn replied(wire: &Amqprpc, request: &Message, outcome: Result<&Value, &Fault>) -> AmqpMessage {
    let mut reply = Message::default().with_content_type(request.content_type.clone());
    wire.encode_outcome(outcome, &mut reply).unwrap();
    wire.encode_reply(reply.with_reply_to(request.reply_to.clone())).unwrap()
}

/// A captured body in each format, as Python and as Go writes it.
fn in_each_format(
    json: &[&'static [u8]],
    packed: &[&'static [u8]],
) -> Vec<(Amqprpc, &'static [u8])> {
    let json = json.iter().map(|body| (Amqprpc::new(), *body));
    json.chain(packed.iter().map(|body| (Amqprpc::new().message_pack(), *body))).collect()
}
