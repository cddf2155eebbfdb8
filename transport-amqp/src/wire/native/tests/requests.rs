//! Requests and replies.

use lapin::BasicProperties;
use lapin::message::Delivery as RawDelivery;
use lapin::types::{AMQPValue, FieldTable};
use polywire_core::message::CallId;
use polywire_core::{Code, ErrorKind, Fault, Limits, Message};

use super::super::{decode_reply, decode_request, encode_reply, encode_request, reply_address};
use super::{delivered, encoded, request};
use crate::wire::Correlation;

#[test]
fn requests_decode_as_they_were_encoded() {
    let encoded = encoded(request());
    assert_eq!(encoded.routing_key.as_str(), "polywire.größen");
    assert_eq!(encoded.properties.correlation_id().as_ref().unwrap().as_str(), "7-42");
    let received = decode_request(&mut delivered(encoded), &Limits::default()).unwrap();
    let sent = request();
    assert_eq!(
        (received.method, received.id, received.content_type),
        (sent.method, sent.id, sent.content_type)
    );
    assert_eq!((received.headers.len(), received.headers.get("größe")), (2, Some("目")));
    assert_eq!(received.body, sent.body);
    assert!((4_000..=5_000).contains(&received.deadline.unwrap().remaining_ms()));
}

#[test]
fn replies_go_to_the_reply_address_and_name_their_call() {
    let request = decode_request(&mut delivered(encoded(request())), &Limits::default()).unwrap();
    let mut reply = Message::new("done");
    reply.reply_to = request.reply_to;
    let reply = encode_reply(reply, true).unwrap();
    assert_eq!(reply.routing_key.as_str(), "replies");
    let (correlation, reply) = decode_reply(delivered(reply), &Limits::default()).unwrap();
    assert_eq!(correlation, Correlation { requester: 7, call: CallId(42) });
    assert_eq!(reply.body.into_bytes(), "done");
}

#[test]
fn faults_decode_as_they_were_encoded() {
    let transient = Fault::new(Code::Application, "nur 3 Stück")
        .with_kind("Épuisé")
        .with_details(&b"\x00\xff"[..]);
    for fault in [transient.clone(), transient.permanent()] {
        check_fault(fault);
    }
}

/// Encodes a fault, and decodes it again.
fn check_fault(fault: Fault) {
    let mut reply = Message::failed(fault.clone());
    let properties = BasicProperties::default();
    reply.reply_to = reply_address(
        &properties.with_reply_to("replies".into()).with_correlation_id("1-2".into()),
    );
    let reply = encode_reply(reply, true).unwrap();
    let (_, reply) = decode_reply(delivered(reply), &Limits::default()).unwrap();
    assert_eq!(reply.fault.map(|fault| *fault), Some(fault));
    assert!(reply.headers.is_empty());
}

#[test]
fn foreign_correlation_ids_are_repeated_unchanged() {
    let properties = BasicProperties::default()
        .with_type("add".into())
        .with_reply_to("theirs".into())
        .with_correlation_id("a6002743-aa77-42b9-b0ae-5c9b46ceabeb".into());
    let mut raw = RawDelivery::mock(1, "".into(), "polywire.x".into(), false, Vec::new());
    raw.properties = properties;
    let request = decode_request(&mut raw, &Limits::default()).unwrap();
    assert_eq!((request.id, request.deadline), (None, None));
    let mut reply = Message::new("5");
    reply.reply_to = request.reply_to;
    let reply = encode_reply(reply, true).unwrap();
    let id = reply.properties.correlation_id().as_ref().unwrap().as_str().to_owned();
    assert_eq!(
        (reply.routing_key.as_str(), &*id),
        ("theirs", "a6002743-aa77-42b9-b0ae-5c9b46ceabeb")
    );
}

#[test]
fn undecodable_requests_keep_their_reply_address() {
    let spoiled: [fn(BasicProperties) -> BasicProperties; 2] =
        [|good| good.with_type("two words".into()), |good| good.with_expiration("soon".into())];
    for spoil in spoiled {
        let mut raw = delivered(encoded(request()));
        raw.properties = spoil(raw.properties);
        let failure = decode_request(&mut raw, &Limits::default()).unwrap_err();
        assert!(failure.message.reply_to.is_some(), "{failure:?}");
        assert_eq!(failure.correlation, Some(Correlation { requester: 7, call: CallId(42) }));
    }
}

#[test]
fn messages_over_the_limits_are_refused() {
    let limits = Limits { body_max: 2, ..Limits::default() };
    let failure = decode_request(&mut delivered(encoded(request())), &limits).unwrap_err();
    assert_eq!(failure.error.kind(), ErrorKind::TooLarge);
}

#[test]
fn replies_with_a_foreign_correlation_id_are_undecodable() {
    for id in ["", "1", "1-", "-1", "a-b", "1-2-3", "99999999999999999999-1"] {
        let mut raw = RawDelivery::mock(1, "".into(), "q".into(), false, Vec::new());
        raw.properties = BasicProperties::default().with_correlation_id(id.into());
        let failure = decode_reply(raw, &Limits::default()).unwrap_err();
        assert!(failure.correlation.is_none(), "{id}");
    }
}

#[test]
fn undecodable_replies_keep_their_call() {
    let mut raw = delivered(encoded(request()));
    let mut headers = FieldTable::default();
    headers.insert("note".into(), AMQPValue::LongString(b"\xff".to_vec().into()));
    raw.properties = raw.properties.with_headers(headers);
    let failure = decode_reply(raw, &Limits::default()).unwrap_err();
    assert_eq!(failure.error.kind(), ErrorKind::Codec);
    assert_eq!(failure.correlation, Some(Correlation { requester: 7, call: CallId(42) }));
}

#[test]
fn fields_over_255_bytes_are_refused() {
    let mut message = request();
    message.content_type = Some("x".repeat(256).into());
    let error = encode_request(&"q".into(), &"r".into(), 1, message, true).unwrap_err();
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::TooLarge, true));
}

#[test]
fn reserved_headers_are_refused() {
    let mut message = request();
    message.headers.insert("polywire.fault", "Internal");
    let error = encode_request(&"q".into(), &"r".into(), 1, message, true).unwrap_err();
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Config, true));
    assert_eq!(error.detail("header"), Some("polywire.fault"));
}

#[test]
fn headers_that_are_no_strings_are_skipped() {
    let mut raw = delivered(encoded(request()));
    let mut headers = raw.properties.headers().clone().unwrap();
    headers.insert("x-death".into(), AMQPValue::LongInt(1));
    raw.properties = raw.properties.with_headers(headers);
    let received = decode_request(&mut raw, &Limits::default()).unwrap();
    assert_eq!(received.headers.iter().len(), 2);
}

#[test]
fn delivery_mode_says_whether_a_message_is_persistent() {
    let transient = encode_request(&"q".into(), &"r".into(), 1, request(), false).unwrap();
    assert_eq!(transient.properties.delivery_mode(), &Some(1));
    assert_eq!(encoded(request()).properties.delivery_mode(), &Some(2));
}
