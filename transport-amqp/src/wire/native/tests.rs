use std::time::Duration;

use super::*;

/// What the other side receives of what was published.
fn arrived(publishing: Publishing) -> Raw {
    let mut raw = Raw::mock(1, publishing.exchange, publishing.routing_key, false, publishing.body.to_vec());
    raw.properties = publishing.properties;
    raw
}

fn request() -> Message {
    let mut message =
        Message::request(Address::new("prüfen.检查").unwrap(), Deadline::after(Duration::from_secs(5)));
    message.id = Some(CallId(42));
    message.content_type = Some("application/json".into());
    message.headers = [("größe", "目"), ("empty", "")].into_iter().collect();
    message.body = (&b"[1]"[..]).into();
    message
}

fn encoded(message: Message) -> Publishing {
    let queue = Native.request_queue(&Address::new("größen").unwrap()).unwrap();
    Native.encode_request(&queue, &"replies".into(), 7, message, true).unwrap()
}

#[test]
fn requests_arrive_as_they_left() {
    let publishing = encoded(request());
    assert_eq!(publishing.routing_key.as_str(), "polywire.größen");
    assert_eq!(publishing.properties.correlation_id().as_ref().unwrap().as_str(), "7-42");
    let came = Native.decode_request(&mut arrived(publishing), &Limits::default()).unwrap();
    let left = request();
    assert_eq!((came.method, came.id, came.content_type), (left.method, left.id, left.content_type));
    assert_eq!((came.headers.len(), came.headers.get("größe")), (2, Some("目")));
    assert_eq!(came.body, left.body);
    assert!((4_000..=5_000).contains(&came.deadline.unwrap().remaining_ms()));
}

#[test]
fn replies_go_where_the_request_says_and_name_its_call() {
    let request = Native.decode_request(&mut arrived(encoded(request())), &Limits::default()).unwrap();
    let mut reply = Message::new("done");
    reply.reply_to = request.reply_to;
    let publishing = Native.encode_reply(reply, true).unwrap();
    assert_eq!(publishing.routing_key.as_str(), "replies");
    let (correlation, reply) = Native.decode_reply(arrived(publishing), &Limits::default()).unwrap();
    assert_eq!(correlation, Correlation { requester: 7, call: CallId(42) });
    assert_eq!(reply.body.into_bytes(), "done");
}

#[test]
fn faults_cross_whole() {
    let fault =
        Fault::new(Code::Application, "nur 3 Stück").with_kind("Épuisé").with_details(&b"\x00\xff"[..]);
    let mut reply = Message::failed(fault.clone());
    reply.reply_to = ReturnAddress::read(
        &BasicProperties::default().with_reply_to("replies".into()).with_correlation_id("1-2".into()),
    );
    let publishing = Native.encode_reply(reply, true).unwrap();
    let (_, reply) = Native.decode_reply(arrived(publishing), &Limits::default()).unwrap();
    assert_eq!(reply.fault.map(|fault| *fault), Some(fault));
    assert!(reply.headers.is_empty());
}

#[test]
fn foreign_correlation_ids_are_given_back_as_they_came() {
    let properties = BasicProperties::default()
        .with_type("add".into())
        .with_reply_to("theirs".into())
        .with_correlation_id("a6002743-aa77-42b9-b0ae-5c9b46ceabeb".into());
    let mut raw = Raw::mock(1, "".into(), "polywire.x".into(), false, Vec::new());
    raw.properties = properties;
    let request = Native.decode_request(&mut raw, &Limits::default()).unwrap();
    assert_eq!((request.id, request.deadline), (None, None));
    let mut reply = Message::new("5");
    reply.reply_to = request.reply_to;
    let publishing = Native.encode_reply(reply, true).unwrap();
    let id = publishing.properties.correlation_id().as_ref().unwrap().as_str().to_owned();
    assert_eq!((publishing.routing_key.as_str(), &*id), ("theirs", "a6002743-aa77-42b9-b0ae-5c9b46ceabeb"));
}

#[test]
fn garbled_requests_keep_where_to_answer() {
    let spoiled: [fn(BasicProperties) -> BasicProperties; 2] =
        [|good| good.with_type("two words".into()), |good| good.with_expiration("soon".into())];
    for spoil in spoiled {
        let mut raw = arrived(encoded(request()));
        raw.properties = spoil(raw.properties);
        let garbled = Native.decode_request(&mut raw, &Limits::default()).unwrap_err();
        assert!(garbled.message.reply_to.is_some(), "{garbled:?}");
        assert_eq!(garbled.correlation, Some(Correlation { requester: 7, call: CallId(42) }));
    }
}

#[test]
fn messages_over_the_limit_are_garbled() {
    let limits = Limits { body_max: 2, ..Limits::default() };
    let garbled = Native.decode_request(&mut arrived(encoded(request())), &limits).unwrap_err();
    assert_eq!(garbled.error.kind(), ErrorKind::TooLarge);
}

#[test]
fn replies_of_nobody_are_garbled() {
    for id in ["", "1", "1-", "-1", "a-b", "1-2-3", "99999999999999999999-1"] {
        let mut raw = Raw::mock(1, "".into(), "q".into(), false, Vec::new());
        raw.properties = BasicProperties::default().with_correlation_id(id.into());
        assert!(Native.decode_reply(raw, &Limits::default()).unwrap_err().correlation.is_none(), "{id}");
    }
}

#[test]
fn what_has_no_room_in_a_short_string_is_refused() {
    let mut message = request();
    message.content_type = Some("x".repeat(256).into());
    let error = Native.encode_request(&"q".into(), &"r".into(), 1, message, true).unwrap_err();
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::TooLarge, true));
}

#[test]
fn reserved_headers_are_refused() {
    let mut message = request();
    message.headers.insert("polywire.fault", "Internal");
    let error = Native.encode_request(&"q".into(), &"r".into(), 1, message, true).unwrap_err();
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Config, true));
    assert_eq!(error.detail("header"), Some("polywire.fault"));
}

#[test]
fn garbled_replies_keep_whose_they_are() {
    let mut raw = arrived(encoded(request()));
    let mut headers = FieldTable::default();
    headers.insert("note".into(), AMQPValue::LongString(b"\xff".to_vec().into()));
    raw.properties = raw.properties.with_headers(headers);
    let garbled = Native.decode_reply(raw, &Limits::default()).unwrap_err();
    assert_eq!(garbled.error.kind(), ErrorKind::Codec);
    assert_eq!(garbled.correlation, Some(Correlation { requester: 7, call: CallId(42) }));
}

#[test]
fn headers_that_are_no_text_are_left_out() {
    let mut raw = arrived(encoded(request()));
    let mut headers = raw.properties.headers().clone().unwrap();
    headers.insert("x-death".into(), AMQPValue::LongInt(1));
    raw.properties = raw.properties.with_headers(headers);
    let came = Native.decode_request(&mut raw, &Limits::default()).unwrap();
    assert_eq!(came.headers.iter().len(), 2);
}

#[test]
fn what_need_not_persist_says_so() {
    let transient = Native.encode_request(&"q".into(), &"r".into(), 1, request(), false).unwrap();
    assert_eq!(transient.properties.delivery_mode(), &Some(1));
    assert_eq!(encoded(request()).properties.delivery_mode(), &Some(2));
}
