//! Requests: captured ones are read, and ours are equal to captured ones.

use polywire_amqp::AmqpLayout;
use polywire_amqp::lapin::types::{AMQPValue, FieldArray, FieldTable};
use polywire_core::context::{Baggage, CallStack};
use polywire_core::message::CallId;
use polywire_core::rpc::Args;
use polywire_core::{Code, Dialect, ErrorKind, Headers, Message};
use polywire_dialects::Nameko;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{address, as_json, json_properties, msgpack_properties, received};

const REPLY_KEY: &str = "7efc1bb9-87f1-40d9-aceb-be8ac6cd45e8";
const CORRELATION: &str = "a6002743-aa77-42b9-b0ae-5c9b46ceabeb";
const CALLER: &str = "standalone_rpc_proxy.call.4ac3e893-ff3e-4442-987d-964831611c3e";
/// `{"args": [2, 3], "kwargs": {}}` of msgpack.
const ADD: &[u8] = b"\x82\xa4args\x92\x02\x03\xa6kwargs\x80";

/// The headers of the captured request.
fn captured_headers() -> FieldTable {
    let mut headers = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    headers.insert("nameko.language".into(), text("en-gb"));
    headers.insert("nameko.user_id".into(), AMQPValue::LongInt(12));
    let mut calls = FieldArray::default();
    calls.push(text(CALLER));
    headers.insert("nameko.call_id_stack".into(), AMQPValue::FieldArray(calls));
    headers
}

fn sent(nameko: &Nameko, args: &impl Serialize, headers: Headers) -> polywire_amqp::AmqpMessage {
    let mut message = Message::default().with_method(address("add")).with_headers(headers);
    nameko.encode_call(args, &mut message).unwrap();
    let message = message.with_id(CallId(7));
    nameko.encode_request(&address("peer_math"), message, REPLY_KEY).unwrap()
}

#[test]
fn captured_request_is_read() {
    let properties = json_properties()
        .with_headers(captured_headers())
        .with_correlation_id(CORRELATION.into())
        .with_reply_to(REPLY_KEY.into());
    let request = received("peer_math.add", properties, br#"{"args": [2, 3], "kwargs": {}}"#);
    assert_eq!(request.method, Some(address("add")));
    assert!(request.fault.is_none() && request.reply_to.is_some() && request.deadline.is_none());
    assert_eq!(Nameko::new().decode_call::<(i64, i64)>(&request).unwrap(), (2, 3));
    assert_eq!(request.headers.get(CallStack::HEADER), Some(CALLER));
    let baggage = Baggage::of(&request.headers);
    assert_eq!(baggage.get("language"), Some("en-gb"));
    assert_eq!(baggage.get("user_id"), Some("12"));
}

#[test]
fn our_request_is_that_of_nameko() {
    let mut headers = Headers::new();
    Baggage::add(&mut headers, "language", "en-gb");
    headers.insert(CallStack::HEADER, CALLER);
    let request = sent(&Nameko::new(), &(2, 3), headers);
    assert_eq!(request.routing_key.as_str(), "peer_math.add");
    assert!(request.mandatory);
    assert_eq!(as_json(&request.body), json!({ "args": [2, 3], "kwargs": {} }));
    assert!(request.body.starts_with(br#"{"args": ["#), "{:?}", request.body);
    let mut expected = captured_headers().inner().clone();
    expected.remove("nameko.user_id");
    let expected = json_properties()
        .with_headers(expected.into())
        .with_reply_to(REPLY_KEY.into())
        .with_correlation_id(format!("{REPLY_KEY}-7").into());
    assert_eq!(request.properties, expected);
}

#[test]
fn messagepack_is_that_of_nameko() {
    let request = sent(&Nameko::new().message_pack(), &(2, 3), Headers::new());
    assert_eq!(&request.body[..], ADD);
    assert_eq!(request.properties.content_type(), msgpack_properties().content_type());
    assert_eq!(request.properties.content_encoding(), msgpack_properties().content_encoding());
    let properties = msgpack_properties().with_reply_to(REPLY_KEY.into());
    let request = received("peer_math.add", properties, ADD);
    assert_eq!(Nameko::new().decode_call::<(i64, i64)>(&request).unwrap(), (2, 3));
}

#[test]
fn mixed_arguments_are_sent_apart() {
    let args = Args::new().arg(2).named("b", 3);
    let request = sent(&Nameko::new(), &args, Headers::new());
    assert_eq!(as_json(&request.body), json!({ "args": [2], "kwargs": { "b": 3 } }));
}

#[test]
fn request_that_ends_a_nameko_server_is_never_sent() {
    let nameko = Nameko::new();
    for id in [None, Some(CallId(1))] {
        let mut message = Message::default().with_method(address("add"));
        nameko.encode_call(&(2, 3), &mut message).unwrap();
        let request = message.with_id(id);
        let request = nameko.encode_request(&address("peer_math"), request, REPLY_KEY).unwrap();
        assert!(request.properties.reply_to().is_some(), "{id:?}");
        assert_eq!(request.properties.content_type(), json_properties().content_type());
        // The reply to a one-way call goes to no queue.
        let key = request.properties.reply_to().clone().unwrap();
        assert_eq!(key.as_str() == REPLY_KEY, id.is_some());
    }
    let message = Message::new("[2, 3]").with_method(address("add")).with_id(CallId(1));
    for content_type in [None, Some("application/msgpack")] {
        let message = message.clone().with_content_type(content_type.map(Into::into));
        let sent = nameko.encode_request(&address("peer_math"), message, REPLY_KEY);
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::Config, "{content_type:?}");
    }
    // The body of another codec with the same media type.
    for body in ["[2, 3]", "{}", "{\"args\": []}", "five"] {
        let message = Message::new(body).with_method(address("add")).with_id(CallId(1));
        let message = message.with_content_type(Some("application/json".into()));
        let error = nameko.encode_request(&address("peer_math"), message, REPLY_KEY).unwrap_err();
        assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Config, true), "{body}");
    }
    let mut message = Message::default().with_method(address("math.add"));
    nameko.encode_call(&(), &mut message).unwrap();
    let sent = nameko.encode_request(&address("peer_math"), message, REPLY_KEY);
    assert_eq!(sent.unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn one_way_calls_are_no_duplicates() {
    let nameko = Nameko::new();
    let sent = || {
        let mut message = Message::default().with_method(address("add"));
        nameko.encode_call(&(2, 3), &mut message).unwrap();
        nameko.encode_request(&address("peer_math"), message, REPLY_KEY).unwrap()
    };
    let (first, second) = (sent(), sent());
    assert_ne!(first.properties.correlation_id(), second.properties.correlation_id());
    // The reply of a server is that of no call.
    let reply = polywire_amqp::AmqpMessage::new("key").unwrap().with_properties(first.properties);
    let reply = reply.with_body(&br#"{"result": 5, "error": null}"#[..]);
    assert_eq!(nameko.decode_reply(reply).unwrap_err().call(), None);
    // Another client has no correlation id, and one key for all calls.
    let properties = json_properties().with_reply_to(REPLY_KEY.into());
    let body = br#"{"args": [2, 3], "kwargs": {}}"#;
    let arrived = || received("peer_math.add", properties.clone(), body);
    assert_ne!(arrived().reply_to, arrived().reply_to);
    let properties = properties.clone().with_correlation_id(CORRELATION.into());
    let arrived = || received("peer_math.add", properties.clone(), body);
    assert_eq!(arrived().reply_to, arrived().reply_to);
}

#[test]
fn odd_requests_are_answered() {
    let reply_to = || json_properties().with_reply_to(REPLY_KEY.into());
    let body = br#"{"args": [2, 3], "kwargs": {}}"#;
    let pickled = reply_to().with_content_type("application/x-python-serialize".into());
    for (properties, body, kind) in [
        (reply_to(), &br#"{"args": [2]}"#[..], "MalformedRequest"),
        (reply_to(), b"[2, 3]", "MalformedRequest"),
        (reply_to(), b"{\"args\": [NaN], \"kwargs\": {}}", "MalformedRequest"),
        (reply_to(), b"\xff", "MalformedRequest"),
        (pickled, body, "InvalidArguments"),
    ] {
        let fault = received("peer_math.add", properties, body).fault.unwrap();
        assert_eq!((fault.code, &*fault.kind), (Code::InvalidArguments, kind), "{body:?}");
    }
    let nested = received("peer_math.a.b", reply_to(), body);
    assert_eq!(nested.method, Some(address("a.b")));
    for key in ["peer_math", "peer_math.", "other.add"] {
        let fault = received(key, reply_to(), body).fault.unwrap();
        assert_eq!(fault.code, Code::MethodNotFound, "{key}");
    }
    // Tolerated: no encoding, no headers, no delivery mode, another charset parameter, more keys.
    let bare = polywire_amqp::lapin::BasicProperties::default()
        .with_reply_to(REPLY_KEY.into())
        .with_content_type("application/json; charset=utf-8".into());
    let request = received("peer_math.add", bare, br#"{"kwargs":{},"args":[2,3],"x":1}"#);
    assert!(request.fault.is_none());
    assert_eq!(Nameko::new().decode_call::<Value>(&request).unwrap(), json!([2, 3]));
}

#[test]
fn request_without_a_way_back_runs_or_is_rejected() {
    let body = br#"{"args": [], "kwargs": {}}"#;
    assert!(received("peer_math.note", json_properties(), body).reply_to.is_none());
    let request = polywire_amqp::AmqpMessage::new("peer_math.note").unwrap();
    let request = request.with_properties(json_properties()).with_body(&b"{}"[..]);
    let error = Nameko::new().decode_request(&address("peer_math"), request).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    // The key of a service's queue is no way back: our reply would end its server.
    let properties = json_properties().with_reply_to("peer_math.add".into());
    assert!(received("peer_math.note", properties.clone(), body).reply_to.is_none());
    let request = polywire_amqp::AmqpMessage::new("peer_math.note").unwrap();
    let request = request.with_properties(properties).with_body(&b"{}"[..]);
    assert!(Nameko::new().decode_request(&address("peer_math"), request).is_err());
}
