//! Message ids: those that senders gave, and those that stand for something else.

use lapin::BasicProperties;
use lapin::message::Delivery as RawDelivery;
use polywire_core::Limits;
use polywire_core::message::MessageId;

use super::super::{
    decode_dead_letter, decode_job, decode_request, encode_redriven, encode_republished,
    request_queue,
};
use super::{address, delivered, encoded, request};
use crate::wire::Republish;

fn id(text: &str) -> MessageId {
    MessageId::new(text).unwrap()
}

#[test]
fn id_of_a_call_is_sent_if_the_caller_chose_one() {
    let chosen = encoded(request().with_message_id(id("order-7")));
    assert_eq!(chosen.properties.correlation_id().as_ref().unwrap().as_str(), "7-42");
    let received = decode_request(&mut delivered(chosen), &Limits::default()).unwrap();
    assert_eq!(received.message_id, Some(id("order-7")));
    let without = decode_request(&mut delivered(encoded(request())), &Limits::default()).unwrap();
    assert_eq!(without.message_id, None, "its property is the correlation id");
    assert!(without.id_for_receiver().unwrap().as_str().starts_with("call-"));
}

#[test]
fn ids_of_other_programs_are_received_and_those_of_lines_are_not() {
    for (text, expected) in [
        ("a6002743-aa77-42b9-b0ae-5c9b46ceabeb", true),
        ("7-42", true),
        ("line-seven", true),
        ("line-7", false),
        ("two\nlines", false),
        ("", false),
    ] {
        let mut raw = RawDelivery::mock(1, "".into(), "q".into(), false, Vec::new());
        raw.properties = BasicProperties::default().with_message_id(text.into());
        let received = decode_job(&mut raw, &Limits::default()).unwrap().message_id;
        assert_eq!(received, expected.then(|| id(text)), "{text}");
    }
    let mut raw = RawDelivery::mock(1, "".into(), "q".into(), false, Vec::new());
    let properties = BasicProperties::default().with_type("add".into());
    raw.properties = properties.with_message_id("0-u".into()).with_correlation_id("0-u".into());
    let received = decode_request(&mut raw, &Limits::default()).unwrap();
    assert_eq!(received.message_id, Some(id("0-u")));
}

#[test]
fn dead_letters_and_redriven_requests_keep_the_id_that_the_handler_knew() {
    let queue = request_queue(&address("größen")).unwrap();
    for sent in [request(), request().with_message_id(id("order-7"))] {
        let mut first = delivered(encoded(sent.clone()));
        let known = decode_request(&mut first, &Limits::default()).unwrap().id_for_receiver();
        let raw = delivered(encoded(sent));
        assert!(known.is_some());
        let copy = Republish::new(raw.properties, None, raw.data.into(), 1);
        let dead = delivered(encode_republished(&queue, &queue, copy).unwrap());
        assert_eq!(decode_dead_letter(&dead).id_for_receiver(), known);
        let mut redriven = delivered(encode_redriven(&queue, &dead).unwrap());
        let received = decode_request(&mut redriven, &Limits::default()).unwrap();
        assert_eq!((received.reply_to.is_none(), received.id_for_receiver()), (true, known));
    }
}
