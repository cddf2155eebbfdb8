//! Replies: captured ones are read, and ours are equal to captured ones.

use polywire_amqp::lapin::types::FieldTable;
use polywire_amqp::{AmqpLayout, AmqpMessage};
use polywire_core::message::CallId;
use polywire_core::{Code, Dialect, ErrorKind, Fault, Message};
use polywire_dialects::Nameko;
use serde_json::{Value, json};

use crate::{as_json, json_properties, msgpack_properties, received, replied};

const CORRELATION: &str = "7efc1bb9-87f1-40d9-aceb-be8ac6cd45e8-7";

/// `{"result": 5, "error": null}` of msgpack.
const FIVE: &[u8] = b"\x82\xa6result\x05\xa5error\xc0";

fn reply(properties: polywire_amqp::lapin::BasicProperties, body: &[u8]) -> AmqpMessage {
    let properties = properties.with_correlation_id(CORRELATION.into());
    AmqpMessage::new("key").unwrap().with_properties(properties).with_body(body.to_vec())
}

/// Reads the error of a captured reply.
fn fault(error: &str) -> Fault {
    let body = format!(r#"{{"result": null, "error": {error}}}"#);
    let mut message =
        Nameko::new().decode_reply(reply(json_properties(), body.as_bytes())).unwrap();
    assert_eq!(message.id, Some(CallId(7)));
    assert!(message.fault.is_some(), "layers of the client see the failure");
    Nameko::new().decode_outcome::<Value>(&mut message).unwrap().unwrap_err()
}

#[test]
fn captured_results_are_read() {
    for (properties, body) in [
        (json_properties(), &br#"{"result": 5, "error": null}"#[..]),
        (json_properties(), br#"{"result": 5}"#),
        (msgpack_properties(), FIVE),
    ] {
        let mut message = Nameko::new().decode_reply(reply(properties, body)).unwrap();
        assert_eq!((message.id, message.fault.is_none()), (Some(CallId(7)), true));
        assert_eq!(Nameko::new().decode_outcome::<i64>(&mut message).unwrap(), Ok(5));
    }
}

#[test]
fn captured_errors_are_read() {
    let value_error = fault(
        r#"{"exc_type": "ValueError", "exc_path": "builtins.ValueError",
            "exc_args": ["boom", "42"], "value": "('boom', 42)"}"#,
    );
    assert_eq!(value_error.code, Code::Application);
    assert_eq!(value_error.to_string(), "ValueError: ('boom', 42)");
    assert_eq!(as_json(&value_error.details), json!(["boom", "42"]));
    let own = fault(
        r#"{"exc_type": "PeerError", "exc_path": "__main__.PeerError",
            "exc_args": ["caf\u00e9", {"code": "7"}, ["1", "None"]],
            "value": "('caf\u00e9', {'code': 7}, [1, None])"}"#,
    );
    assert_eq!((own.code, &*own.kind), (Code::Application, "PeerError"));
    assert_eq!(as_json(&own.details), json!(["café", { "code": "7" }, ["1", "None"]]));
    let missing = fault(
        r#"{"exc_type": "MethodNotFound", "exc_path": "nameko.exceptions.MethodNotFound",
            "exc_args": ["no_such_method"], "value": "no_such_method"}"#,
    );
    assert_eq!(missing.code, Code::MethodNotFound);
    let incorrect = fault(
        r#"{"exc_type": "IncorrectSignature",
            "exc_path": "nameko.exceptions.IncorrectSignature",
            "exc_args": ["add() missing 1 required positional argument: 'b'"], "value": "..."}"#,
    );
    assert_eq!(incorrect.code, Code::InvalidArguments);
    let unserializable = fault(
        r#"{"exc_type": "UnserializableValueError",
            "exc_path": "nameko.exceptions.UnserializableValueError",
            "exc_args": [], "value": "Unserializable value: `<object object at 0x7f4bf1ba5aa0>`"}"#,
    );
    assert_eq!(unserializable.code, Code::Internal);
    assert!(unserializable.details.is_empty());
}

#[test]
fn our_replies_are_those_of_nameko() {
    let nameko = Nameko::new();
    let properties =
        json_properties().with_reply_to("reply-key".into()).with_correlation_id(CORRELATION.into());
    let request = received("peer_math.add", properties, br#"{"args": [2, 3], "kwargs": {}}"#);
    let success = replied(&nameko, &request, Ok(&json!(5)));
    assert_eq!(success.routing_key.as_str(), "reply-key");
    assert!(!success.mandatory);
    assert_eq!(&success.body[..], br#"{"result": 5, "error": null}"#);
    let expected = json_properties()
        .with_headers(FieldTable::default())
        .with_correlation_id(CORRELATION.into());
    assert_eq!(success.properties, expected);
    let raised = Nameko::raised("ValueError", "('boom', 42)", json!(["boom", "42"]));
    let failure = replied(&nameko, &request, Err(&raised));
    let error = json!({ "exc_type": "ValueError", "exc_path": "builtins.ValueError",
        "exc_args": ["boom", "42"], "value": "('boom', 42)" });
    assert_eq!(as_json(&failure.body), json!({ "result": null, "error": error }));
    assert_eq!(failure.properties, expected);
}

#[test]
fn reply_has_the_format_of_its_request() {
    let properties = msgpack_properties().with_reply_to("reply-key".into());
    let body = b"\x82\xa4args\x92\x02\x03\xa6kwargs\x80";
    let request = received("peer_math.add", properties, body);
    let reply = replied(&Nameko::new(), &request, Ok(&json!(5)));
    assert_eq!(&reply.body[..], FIVE);
    assert_eq!(reply.properties.content_type(), msgpack_properties().content_type());
    assert_eq!(reply.properties.correlation_id(), &None);
}

#[test]
fn faults_of_the_server_itself_are_written_by_the_layout() {
    let properties = json_properties().with_reply_to("reply-key".into());
    let request = received("peer_math.add", properties, br#"{"args": [], "kwargs": {}}"#);
    let refused = Message::failed(Fault::new(Code::Unavailable, "the server drains"));
    let reply = Nameko::new().encode_reply(refused.with_reply_to(request.reply_to.clone()));
    let error = json!({ "exc_type": "Unavailable", "exc_path": "polywire.Unavailable",
        "exc_args": ["the server drains"], "value": "the server drains" });
    assert_eq!(as_json(&reply.unwrap().body), json!({ "result": null, "error": error }));
    let empty = Nameko::new().encode_reply(Message::default().with_reply_to(request.reply_to));
    assert_eq!(as_json(&empty.unwrap().body), json!({ "result": null, "error": null }));
    let native = Message::default().with_reply_to(polywire_core::message::ReplyTo::new("x"));
    assert_eq!(Nameko::new().encode_reply(native).unwrap_err().kind(), ErrorKind::Unroutable);
}

#[test]
fn reply_of_another_dialect_is_never_sent() {
    let properties = json_properties().with_reply_to("reply-key".into());
    let request = received("peer_math.add", properties, br#"{"args": [], "kwargs": {}}"#);
    for body in ["5", "{}", "[1]", "five", "{\"error\": \"text\"}"] {
        let reply = Message::new(body).with_reply_to(request.reply_to.clone());
        let error = Nameko::new().encode_reply(reply).unwrap_err();
        assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Config, true), "{body}");
    }
}

#[test]
fn malformed_reply_fails_its_call_alone() {
    let pickled = json_properties().with_content_type("application/x-python-serialize".into());
    for (properties, body) in [
        (pickled, &b"x"[..]),
        (json_properties(), b"five"),
        (json_properties(), br#"{"result": null, "error": "text"}"#),
        (json_properties(), b"{}"),
    ] {
        let error = Nameko::new().decode_reply(reply(properties, body)).unwrap_err();
        assert_eq!(error.call(), Some(CallId(7)), "{body:?}");
    }
    let mut foreign = reply(json_properties(), br#"{"result": 5, "error": null}"#);
    foreign.properties = json_properties().with_correlation_id("unknown".into());
    assert_eq!(Nameko::new().decode_reply(foreign).unwrap_err().call(), None);
}
