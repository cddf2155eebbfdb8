//! Replies: captured ones are read, and ours are equal to captured ones.

use polywire_amqp::lapin::BasicProperties;
use polywire_amqp::lapin::types::{AMQPValue, FieldTable};
use polywire_amqp::{AmqpLayout, AmqpMessage};
use polywire_core::message::{CallId, ReplyTo};
use polywire_core::{Code, Dialect, ErrorKind, Fault, Message};
use polywire_dialects::Amqprpc;
use serde_json::{Value, json};

use crate::{THEIR_QUEUE, in_each_format, properties, received, replied};

fn error_header(value: AMQPValue) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert("error".into(), value);
    headers
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// A reply to the call 7 of this client.
fn reply(properties: BasicProperties, body: &[u8]) -> AmqpMessage {
    AmqpMessage::new("queue").unwrap().with_properties(properties).with_body(body.to_vec())
}

fn fault(wire: &Amqprpc, error: AMQPValue, body: &[u8]) -> Fault {
    let properties = properties("Peer.Fail", "7").with_headers(error_header(error));
    let mut message = wire.decode_reply(reply(properties, body)).unwrap();
    assert_eq!(message.id, Some(CallId(7)));
    assert!(message.fault.is_some(), "layers of the client see the failure");
    wire.decode_outcome::<Value>(&mut message).unwrap().unwrap_err()
}

#[test]
fn captured_results_are_read() {
    for (wire, body) in in_each_format(&[b"5"], &[b"\x05", b"\xd3\0\0\0\0\0\0\0\x05"]) {
        let properties = properties("Peer.Add", "7");
        let mut message = wire.decode_reply(reply(properties, body)).unwrap();
        assert_eq!((message.id, message.fault.is_none()), (Some(CallId(7)), true));
        assert_eq!(wire.decode_outcome::<i64>(&mut message).unwrap(), Ok(5));
        // Nothing but the number of the call is needed.
        let bare = BasicProperties::default().with_message_id("8".into());
        assert_eq!(wire.decode_reply(reply(bare, body)).unwrap().id, Some(CallId(8)));
    }
}

#[test]
fn captured_errors_are_read() {
    // The fillers of Python and of Go, and none.
    let fillers = in_each_format(&[b"null", b"{}", b""], &[b"\xc0", b"\x80", b""]);
    for (wire, filler) in fillers {
        for (error, code) in [
            ("('boom', 42)", Code::Application),
            ("boom 42", Code::Application),
            ("unknown function Peer.NoSuchMethod", Code::MethodNotFound),
            ("rpc: can't find method Peer.NoSuchMethod", Code::MethodNotFound),
            ("rpc: can't find service X.Y", Code::MethodNotFound),
            ("rpc: service/method request ill-formed: Double", Code::MethodNotFound),
            ("unexpected end of JSON input", Code::InvalidArguments),
            (
                "json: cannot unmarshal array into Go value of type main.Args",
                Code::InvalidArguments,
            ),
        ] {
            let fault = fault(&wire, text(error), filler);
            assert_eq!((fault.code, &*fault.kind), (code, code.as_str()), "{error}");
            assert!(error.ends_with(&fault.message), "{}", fault.message);
            assert!(fault.details.is_empty());
        }
        // The presence of the header decides.
        assert_eq!(fault(&wire, AMQPValue::Void, filler).code, Code::Application);
        assert_eq!(fault(&wire, text(""), filler).message, "");
    }
}

#[test]
fn our_replies_are_those_of_amqprpc() {
    for (wire, body) in in_each_format(&[b"5"], &[b"\x05"]) {
        let request = received(&wire, properties("Peer.Add", "0"), body).unwrap();
        let success = replied(&wire, &request, Ok(&json!(5)));
        assert_eq!((success.routing_key.as_str(), success.mandatory), (THEIR_QUEUE, false));
        assert_eq!(&success.body[..], body);
        assert_eq!(success.properties, properties("Peer.Add", "0"));
    }
    for (wire, filler) in in_each_format(&[b"null"], &[b"\xc0"]) {
        let request = received(&wire, properties("Peer.Fail", "order-7"), filler).unwrap();
        let raised = Fault::new(Code::Application, "('boom', 42)").with_value(["boom"]);
        let failure = replied(&wire, &request, Err(&raised));
        assert_eq!(&failure.body[..], filler);
        let expected = properties("Peer.Fail", "order-7");
        let expected = expected.with_headers(error_header(text("('boom', 42)")));
        assert_eq!(failure.properties, expected);
    }
}

#[test]
fn unknown_method_is_answered_as_by_python() {
    let wire = Amqprpc::new();
    let request = received(&wire, properties("Peer.NoSuchMethod", "1"), b"1").unwrap();
    let fault = Fault::new(Code::MethodNotFound, "the service has no method Peer.NoSuchMethod");
    let reply = replied(&wire, &request, Err(&fault));
    let headers = reply.properties.headers().clone().unwrap();
    assert_eq!(headers, error_header(text("unknown function Peer.NoSuchMethod")));
}

#[test]
fn table_of_errors_is_the_programs_own() {
    let wire = Amqprpc::new().error("out of stock: ", Code::Application, "OutOfStock");
    let request = received(&wire, properties("Shop.Buy", "1"), b"1").unwrap();
    let sold = Fault::new(Code::Application, "only 3 left").with_kind("OutOfStock");
    let reply = replied(&wire, &request, Err(&sold));
    let headers = reply.properties.headers().clone().unwrap();
    assert_eq!(headers, error_header(text("out of stock: only 3 left")));
    assert_eq!(fault(&wire, text("out of stock: only 3 left"), b"null"), sold);
    assert_eq!(
        fault(&Amqprpc::new(), text("out of stock: only 3 left"), b"{}").kind,
        "Application"
    );
}

#[test]
fn faults_of_the_server_itself_are_written_by_the_layout() {
    let wire = Amqprpc::new();
    let request = received(&wire, properties("Peer.Add", "1"), b"1").unwrap();
    let refused = Message::failed(Fault::new(Code::Unavailable, "the server drains"));
    let reply = wire.encode_reply(refused.with_reply_to(request.reply_to.clone())).unwrap();
    assert_eq!(&reply.body[..], b"null");
    let headers = reply.properties.headers().clone().unwrap();
    assert_eq!(headers, error_header(text("polywire.Unavailable: the server drains")));
    let empty = wire.encode_reply(Message::default().with_reply_to(request.reply_to)).unwrap();
    assert_eq!((&empty.body[..], empty.properties.headers()), (&b"null"[..], &None));
    let native = Message::default().with_reply_to(ReplyTo::new("x"));
    assert_eq!(wire.encode_reply(native).unwrap_err().kind(), ErrorKind::Unroutable);
}

#[test]
fn reply_of_another_dialect_is_never_sent() {
    let wire = Amqprpc::new();
    let request = received(&wire, properties("Peer.Add", "1"), b"1").unwrap();
    for (body, content_type) in [("five", None), ("5", Some("application/msgpack"))] {
        let reply = Message::new(body).with_content_type(content_type.map(Into::into));
        let error = wire.encode_reply(reply.with_reply_to(request.reply_to.clone())).unwrap_err();
        assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Config, true), "{body}");
    }
}

#[test]
fn reply_of_no_call_is_malformed() {
    for id in [None, Some("order-7"), Some(""), Some("-1")] {
        let properties = match id {
            Some(id) => BasicProperties::default().with_message_id(id.into()),
            None => BasicProperties::default(),
        };
        let error = Amqprpc::new().decode_reply(reply(properties, b"5")).unwrap_err();
        assert_eq!((error.kind(), error.call()), (ErrorKind::Codec, None), "{id:?}");
    }
}
