//! Requests and queues: captured ones are read, and ours are equal to captured ones.

use polywire_amqp::lapin::BasicProperties;
use polywire_amqp::{AmqpLayout, AmqpMessage, QueueDeclaration, Topology};
use polywire_core::message::CallId;
use polywire_core::{Capabilities, Code, Dialect, ErrorKind, Message};
use polywire_dialects::Amqprpc;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Pair, THEIR_QUEUE, address, in_each_format, properties, received};

const UNIQUE: &str = "7efc1bb9-87f1-40d9-aceb-be8ac6cd45e8";
const OUR_QUEUE: &str = "amqprpc.reply-polywire-7efc1bb9-87f1-40d9-aceb-be8ac6cd45e8";

/// `{"A": 2, "B": 3}` of msgpack, as Python writes it, and as Go does: an integer has eight bytes.
const PACKED: &[u8] = b"\x82\xa1A\x02\xa1B\x03";
const PACKED_BY_GO: &[u8] = b"\x82\xa1A\xd3\0\0\0\0\0\0\0\x02\xa1B\xd3\0\0\0\0\0\0\0\x03";

fn request_of(wire: &Amqprpc, method: &str, args: &impl Serialize) -> Message {
    let mut message = Message::default().with_method(address(method)).with_id(CallId(7));
    wire.encode_call(args, &mut message).unwrap();
    message
}

fn sent(wire: &Amqprpc, message: Message) -> polywire_core::Result<AmqpMessage> {
    wire.encode_request(&address("peer"), message, UNIQUE)
}

#[test]
fn captured_requests_are_read() {
    let json: [&[u8]; 2] = [br#"{"A": 2, "B": 3}"#, br#"{"A":2,"B":3}"#];
    for (wire, body) in in_each_format(&json, &[PACKED, PACKED_BY_GO]) {
        // Python begins with 1, and Go with 0.
        for id in ["1", "0"] {
            let request = received(&wire, properties("Peer.Add", id), body).unwrap();
            assert_eq!(request.method, Some(address("Peer.Add")));
            assert!(request.fault.is_none() && request.reply_to.is_some());
            assert_eq!(wire.decode_call::<Pair>(&request).unwrap(), Pair { a: 2, b: 3 });
        }
    }
    let wire = Amqprpc::new();
    let scalar = received(&wire, properties("double", "1"), b"\"boom\"").unwrap();
    assert_eq!(scalar.method, Some(address("double")));
    assert_eq!(wire.decode_call::<String>(&scalar).unwrap(), "boom");
}

#[test]
fn our_request_is_that_of_amqprpc() {
    let bodies = in_each_format(&[br#"{"A":2,"B":3}"#], &[PACKED]);
    for (wire, body) in bodies {
        let request = sent(&wire, request_of(&wire, "Peer.Add", &Pair { a: 2, b: 3 })).unwrap();
        assert_eq!((request.routing_key.as_str(), &request.body[..]), ("peer", body));
        let expected = BasicProperties::default()
            .with_reply_to("Peer.Add".into())
            .with_correlation_id(OUR_QUEUE.into())
            .with_message_id("7".into());
        assert_eq!(request.properties, expected);
        // The broker returns a request that no queue takes. No peer sees the flag.
        assert!(request.mandatory);
    }
}

#[test]
fn object_is_part_of_the_method() {
    let wire = Amqprpc::new().object("Peer");
    let request = sent(&wire, request_of(&wire, "Add", &(1,))).unwrap();
    assert_eq!(request.properties.reply_to(), &Some("Peer.Add".into()));
    for (name, method) in [("Peer.Add", "Add"), ("Other.Add", "Other.Add"), ("double", "double")] {
        let request = received(&wire, properties(name, "1"), b"1").unwrap();
        assert_eq!(request.method, Some(address(method)));
    }
}

#[test]
fn request_that_ends_a_server_of_go_is_never_sent() {
    let wire = Amqprpc::new();
    let one_way =
        || sent(&wire, request_of(&wire, "Peer.Note", &(1,)).with_id(None::<CallId>)).unwrap();
    let (first, second) = (one_way(), one_way());
    for request in [&first, &second] {
        // A queue that does not exist.
        let queue = request.properties.correlation_id().clone().unwrap();
        assert_eq!(queue.as_str(), format!("{OUR_QUEUE}-none"));
    }
    assert_ne!(first.properties.message_id(), second.properties.message_id());
}

#[test]
fn body_of_another_dialect_is_never_sent() {
    let wire = Amqprpc::new();
    let packed = Amqprpc::new().message_pack();
    for message in [
        request_of(&packed, "Peer.Add", &(1,)),
        request_of(&wire, "Peer.Add", &(1,)).with_body("five"),
        request_of(&wire, "Peer.Add", &(1,)).with_body(""),
    ] {
        let error = sent(&wire, message).unwrap_err();
        assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Config, true));
    }
    let unnamed = request_of(&wire, "Peer.Add", &(1,)).with_method(None::<polywire_core::Address>);
    assert_eq!(sent(&wire, unnamed).unwrap_err().kind(), ErrorKind::Config);
    let long = wire.object(&"o".repeat(255));
    let error = sent(&long, request_of(&long, "Add", &(1,))).unwrap_err();
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Config, true));
}

#[test]
fn odd_requests_are_answered() {
    let wire = Amqprpc::new();
    for (name, body, code) in [
        ("Peer.Add", &b"{"[..], Code::InvalidArguments),
        ("Peer.Add", b"", Code::InvalidArguments),
        ("Peer.Add", b"\xff", Code::InvalidArguments),
        ("", b"1", Code::MethodNotFound),
        ("two words", b"1", Code::MethodNotFound),
    ] {
        let request = received(&wire, properties(name, "1"), body).unwrap();
        assert_eq!(request.fault.unwrap().code, code, "{name} {body:?}");
        assert!(request.reply_to.is_some());
    }
    // Tolerated: more properties, and any message id or none.
    for id in [None, Some("order-7")] {
        let properties = properties("Peer.Add", id.unwrap_or("1"));
        let properties = properties.with_content_type("text/plain".into()).with_delivery_mode(2);
        let properties = match id {
            Some(_) => properties,
            None => BasicProperties::default()
                .with_reply_to("Peer.Add".into())
                .with_correlation_id(THEIR_QUEUE.into()),
        };
        let request = received(&wire, properties, b"1").unwrap();
        assert!(request.fault.is_none() && request.reply_to.is_some(), "{id:?}");
    }
}

#[test]
fn requests_of_one_caller_are_told_from_each_other() {
    let wire = Amqprpc::new();
    let arrived = |id| received(&wire, properties("Peer.Add", id), b"1").unwrap().reply_to;
    assert_eq!(arrived("1"), arrived("1"));
    assert_ne!(arrived("1"), arrived("2"));
    let without = || {
        let properties = BasicProperties::default().with_correlation_id(THEIR_QUEUE.into());
        let properties = properties.with_reply_to("Peer.Add".into());
        received(&wire, properties, b"1").unwrap().reply_to
    };
    assert_ne!(without(), without());
}

#[test]
fn request_without_a_way_back_runs_or_is_rejected() {
    let wire = Amqprpc::new();
    let named = |queue: Option<&str>| {
        let properties = BasicProperties::default().with_reply_to("Peer.Note".into());
        match queue {
            Some(queue) => properties.with_correlation_id(queue.into()),
            None => properties,
        }
    };
    // A reply in the queue of the service itself would be a request again.
    for queue in [None, Some(""), Some("peer")] {
        let request = received(&wire, named(queue), b"1").unwrap();
        assert!(request.reply_to.is_none(), "{queue:?}");
        let error = received(&wire, named(queue), b"{").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
    }
}

#[test]
fn queues_are_those_of_amqprpc() {
    let (wire, service) = (Amqprpc::new(), address("peer"));
    let requests = wire.request_queue(&service).unwrap();
    let expected = Topology::new().queue(QueueDeclaration::new("peer").durable(false));
    assert_eq!((requests.name.as_str(), requests.is_private), ("peer", false));
    assert_eq!(requests.topology, expected);
    let durable = wire.clone().durable_queue().request_queue(&service).unwrap();
    assert_eq!(durable.topology, Topology::new().queue(QueueDeclaration::new("peer")));
    let replies = wire.reply_queue(&service, UNIQUE).unwrap();
    let queue = QueueDeclaration::new(OUR_QUEUE).argument("x-queue-type", "classic");
    let queue = queue.argument("x-expires", 300_000);
    assert_eq!((replies.name.as_str(), replies.is_private), (OUR_QUEUE, true));
    assert_eq!(replies.topology, Topology::new().queue(queue));
    for exchange in [wire.request_exchange(&service), wire.reply_exchange(&service)] {
        let exchange = exchange.unwrap();
        assert_eq!((exchange.name.as_str(), exchange.topology), ("", Topology::new()));
    }
    let given = Capabilities::least(1).with_durable(true).with_unroutable_at_once(true);
    assert_eq!(wire.capabilities(given), given.with_durable(false));
    let event = wire.event_exchange(&service).unwrap_err();
    assert_eq!(event.kind(), ErrorKind::Unsupported);
}

#[test]
fn argument_of_each_form_is_read() {
    let wire = Amqprpc::new();
    let request = |body: &[u8]| received(&wire, properties("Peer.Add", "1"), body).unwrap();
    let list = request(b"[1]");
    assert_eq!(wire.decode_call::<(Value,)>(&list).unwrap().0, json!([1]));
    assert_eq!(wire.decode_call::<Value>(&list).unwrap(), json!([1]));
    wire.decode_call::<()>(&list).unwrap();
    let error = wire.decode_call::<Pair>(&list).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
}
