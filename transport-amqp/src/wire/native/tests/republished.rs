//! Deliveries that are published again, and the count of their attempts.

use lapin::BasicProperties;
use lapin::message::Delivery as RawDelivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use polywire_core::{Address, Limits};

use super::super::{
    attempt, counted_attempt, crashes, decode_dead_letter, decode_event, encode_event, encode_job,
    encode_redriven, encode_republished,
};
use super::{address, delivered, delivered_by, job};
use crate::wire::Republish;

/// Returns the delivery of the copy that a consumer publishes for the next attempt.
fn redelivered(raw: RawDelivery, topic: Option<Address>) -> RawDelivery {
    let attempt = attempt(&raw) + 1;
    let copy = Republish::new(raw.properties, topic, raw.data.into(), attempt);
    let queue = "polywire.jobs.j".into();
    delivered(encode_republished(&queue, &queue, copy).unwrap())
}

#[test]
fn republished_events_count_their_attempts_and_keep_their_topic() {
    let mut message = job();
    message.topic = Some(address("paris.wind"));
    let first = delivered(encode_event(&"e".into(), message, true).unwrap());
    assert_eq!(attempt(&first), 1);
    let second = redelivered(first, Some(address("paris.wind")));
    assert_eq!((second.routing_key.as_str(), attempt(&second)), ("polywire.jobs.j", 2));
    let mut third = redelivered(second, Some(address("paris.wind")));
    assert_eq!(attempt(&third), 3);
    third.redelivered = true;
    assert_eq!(attempt(&third), 4);
    let received = decode_event(&mut third, &Limits::default()).unwrap();
    assert_eq!((received.topic, received.headers), (Some(address("paris.wind")), job().headers));
    assert_eq!(received.body, job().body);
}

#[test]
fn suspects_carry_their_crashes_and_others_do_not() {
    let raw = delivered(encode_job(&"q".into(), job(), true).unwrap());
    let mut copy = Republish::new(raw.properties, None, raw.data.into(), 2);
    copy.crashes = Some(3);
    let mut suspect = delivered(encode_republished(&"s".into(), &"q".into(), copy).unwrap());
    suspect.redelivered = true;
    assert_eq!((crashes(&suspect), counted_attempt(&suspect)), (3, 2));
    let copy = Republish::new(suspect.properties, None, suspect.data.into(), 2);
    let cleared = delivered(encode_republished(&"q".into(), &"q".into(), copy).unwrap());
    assert_eq!((crashes(&cleared), counted_attempt(&cleared)), (0, 2));
}

/// The broker refuses the name of another user than ours, and `CC` would make it copy the message
/// again.
#[test]
fn copies_name_no_user_but_ours_and_leave_out_carbon_copies() {
    let mut raw = delivered(encode_job(&"q".into(), job(), true).unwrap());
    let mut headers = raw.properties.headers().clone().unwrap();
    headers.insert("CC".into(), AMQPValue::LongString("elsewhere".into()));
    headers.insert("x-odd".into(), AMQPValue::Boolean(true));
    let received =
        raw.properties.with_user_id("alice".into()).with_priority(3).with_headers(headers);
    raw.properties = received.with_timestamp(7).with_app_id("theirs".into());
    let copy = Republish::new(raw.properties.clone(), None, raw.data.clone().into(), 1);
    let copies = [
        encode_republished(&"q".into(), &"q".into(), copy).unwrap(),
        encode_redriven(&"q".into(), &raw).unwrap(),
    ];
    for copy in copies {
        for (ours, named) in [("alice", Some("alice")), ("bob", None)] {
            let copy = delivered_by(Some(ours), copy.clone()).properties;
            assert_eq!(copy.user_id().as_ref().map(ShortString::as_str), named, "{ours}");
        }
    }
    let copy = redelivered(raw, None).properties;
    assert_eq!((copy.user_id(), copy.priority(), copy.timestamp()), (&None, &Some(3), &Some(7)));
    assert_eq!(copy.app_id().as_ref().unwrap().as_str(), "theirs");
    assert_eq!(copy.message_id().as_ref().unwrap().as_str(), "1-2");
    assert_eq!(copy.delivery_mode(), &Some(2));
    let headers = copy.headers().as_ref().unwrap().inner();
    assert!(!headers.contains_key("CC") && headers.contains_key("x-odd"));
}

/// A quorum queue for dead letters counts each look at a dead letter as a delivery.
#[test]
fn looks_at_a_dead_letter_of_the_broker_are_no_attempts() {
    for (ours, expected) in [(None, 1), (Some(3), 3)] {
        let mut headers = FieldTable::default();
        for name in ["x-delivery-count", "x-acquired-count"] {
            headers.insert(name.into(), AMQPValue::LongLongInt(7));
        }
        if let Some(ours) = ours {
            headers.insert("polywire.attempt".into(), AMQPValue::LongLongInt(ours));
        }
        let mut raw = RawDelivery::mock(1, "".into(), "q".into(), true, Vec::new());
        raw.properties = BasicProperties::default().with_headers(headers);
        let history = decode_dead_letter(&raw).history.unwrap();
        assert_eq!(history.dead_letter.unwrap().attempts, expected);
    }
}

#[test]
fn attempts_sum_our_count_and_that_of_the_broker() {
    let attempt = |redelivered, headers: &[(&'static str, AMQPValue)]| {
        let mut raw = RawDelivery::mock(1, "".into(), "q".into(), redelivered, Vec::new());
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        raw.properties = BasicProperties::default().with_headers(table);
        attempt(&raw)
    };
    assert_eq!((attempt(false, &[]), attempt(true, &[])), (1, 2));
    assert_eq!(attempt(true, &[("x-delivery-count", AMQPValue::LongLongInt(3))]), 4);
    assert_eq!(attempt(true, &[("x-delivery-count", AMQPValue::ShortShortUInt(0))]), 2);
    let failed = ("x-delivery-count", AMQPValue::LongLongInt(1));
    let acquired = ("x-acquired-count", AMQPValue::LongLongInt(3));
    assert_eq!(attempt(true, std::slice::from_ref(&acquired)), 4);
    assert_eq!(attempt(true, &[failed, acquired]), 4);
    assert_eq!(attempt(false, &[("polywire.attempt", AMQPValue::ShortShortInt(5))]), 5);
    // Values that another program wrote are skipped.
    assert_eq!(attempt(false, &[("polywire.attempt", AMQPValue::LongString("five".into()))]), 1);
    assert_eq!(attempt(true, &[("polywire.attempt", AMQPValue::LongLongInt(-5))]), 2);
    assert_eq!(attempt(true, &[("polywire.attempt", AMQPValue::LongUInt(u32::MAX))]), u32::MAX);
}
