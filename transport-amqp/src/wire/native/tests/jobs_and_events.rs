//! Jobs and events, and the user who sends them.

use lapin::BasicProperties;
use lapin::message::Delivery as RawDelivery;
use lapin::types::{AMQPValue, FieldTable};
use polywire_core::{Address, ErrorKind, Identity, Limits};

use super::super::{
    decode_event, decode_job, decode_request, encode_event, encode_job, event_exchange, job_queue,
};
use super::{address, delivered, delivered_by, encoded, job, request};
use crate::wire::outgoing::MessageSender;

#[test]
fn jobs_decode_as_they_were_encoded() {
    let queue = job_queue(&address("bilder.größe")).unwrap();
    let encoded = encode_job(&queue, job(), true).unwrap();
    assert!(encoded.mandatory);
    assert_eq!(encoded.routing_key.as_str(), "polywire.jobs.bilder.größe");
    assert_eq!(encoded.properties.message_id().as_ref().unwrap().as_str(), "1-2");
    let mut raw = delivered(encoded);
    assert_eq!(raw.properties.expiration(), &None);
    let received = decode_job(&mut raw, &Limits::default()).unwrap();
    assert_eq!(
        (received.method, received.headers, received.body),
        (None, job().headers, job().body)
    );
    assert_eq!(received.content_type.as_deref(), Some("application/json"));
    assert_eq!(received.message_id, job().message_id);
}

#[test]
fn topics_of_events_are_routing_keys() {
    let mut message = job();
    message.topic = Some(address("paris.größe"));
    let exchange = event_exchange(&address("weather")).unwrap();
    let event = encode_event(&exchange, message, true).unwrap();
    assert_eq!((event.exchange.as_str(), event.mandatory), ("polywire.events.weather", false));
    let received = decode_event(&mut delivered(event), &Limits::default()).unwrap();
    assert_eq!(received.topic, Some(address("paris.größe")));
    assert_eq!((received.headers, received.message_id), (job().headers, job().message_id));
}

#[test]
fn longest_topic_is_a_routing_key() {
    let mut message = job();
    let longest = address(&"x".repeat(Address::MAX));
    message.topic = Some(longest.clone());
    let event = encode_event(&"e".into(), message, true).unwrap();
    assert_eq!(event.routing_key.as_str(), longest.as_str());
}

#[test]
fn events_without_a_topic_are_refused() {
    let error = encode_event(&"e".into(), job(), true).unwrap_err();
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Config, true));
}

#[test]
fn undecodable_events_are_codec_errors() {
    let decode = |key: &str, headers: FieldTable| {
        let mut raw = RawDelivery::mock(1, "e".into(), key.into(), false, Vec::new());
        raw.properties = BasicProperties::default().with_headers(headers);
        decode_event(&mut raw, &Limits::default()).unwrap_err()
    };
    assert_eq!(decode("two words", FieldTable::default()).kind(), ErrorKind::Codec);
    assert_eq!(decode("", FieldTable::default()).kind(), ErrorKind::Codec);
    for name in ["note", "polywire.topic"] {
        let mut headers = FieldTable::default();
        headers.insert(name.into(), AMQPValue::LongString(b"\xff".to_vec().into()));
        assert_eq!(decode("a.b", headers).kind(), ErrorKind::Codec, "{name}");
    }
}

#[test]
fn undecodable_event_keeps_its_body_for_the_dead_letter() {
    let mut raw = RawDelivery::mock(1, "e".into(), "two words".into(), false, b"body".to_vec());
    decode_event(&mut raw, &Limits::default()).unwrap_err();
    assert_eq!(raw.data, b"body");
}

#[test]
fn requests_jobs_and_events_name_their_sender() {
    let mut event = job();
    event.topic = Some(address("paris"));
    let encoded = [
        encoded(request()),
        encode_job(&"q".into(), job(), true).unwrap(),
        encode_event(&"x".into(), event, true).unwrap(),
    ];
    assert!(encoded.iter().all(|message| message.sender == MessageSender::Ours));
    let [mut request, mut sent_job, mut event] = encoded.map(|mut message| {
        let mut without_user = message.clone();
        without_user.stamp(None, || 0);
        message.stamp(Some(&"alice".into()), || 0);
        assert_eq!(message.header_len(), without_user.header_len() + 6);
        delivered_by(Some("alice"), message)
    });
    let limits = Limits::default();
    let received = [
        decode_request(&mut request, &limits).unwrap(),
        decode_job(&mut sent_job, &limits).unwrap(),
        decode_event(&mut event, &limits).unwrap(),
    ];
    let alice = Identity::User("alice".into());
    assert!(received.iter().all(|message| message.peer.as_deref() == Some(&alice)));
    let mut anonymous = delivered(encode_job(&"q".into(), job(), true).unwrap());
    assert_eq!(decode_job(&mut anonymous, &limits).unwrap().peer, None);
}
