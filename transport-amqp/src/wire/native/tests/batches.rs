//! Batches of calls and of replies.

use std::time::Duration;

use bytestring::ByteString;
use lapin::message::Delivery as RawDelivery;
use polywire_core::message::{CallId, MessageId};
use polywire_core::{Code, Deadline, Fault, Limits, Message};

use super::super::{
    BatchWriter, CallBatch, announced, decode_declines, decode_replies, decode_request,
    encode_request, entry_len, mark_redelivered, requester_part, split_reply_address,
};
use super::{delivered, request};
use crate::wire::{Correlation, OutgoingMessage};

/// Returns a batch of these messages, with the correlation ids `7-0`, `7-1` and so on.
fn batch(messages: &[Message], deadline: Option<Deadline>) -> BatchWriter {
    let mut batch = BatchWriter::new(deadline, 100);
    for (number, message) in messages.iter().enumerate() {
        batch.push(&format!("7-{number}"), message);
    }
    batch
}

fn calls(messages: &[Message]) -> OutgoingMessage {
    let deadline = messages.iter().filter_map(|message| message.deadline).max();
    batch(messages, deadline).into_calls(&"q..batches".into(), &"replies".into(), true)
}

fn decoded(batch: OutgoingMessage) -> CallBatch {
    let mut raw = delivered(batch);
    raw.properties = raw.properties.with_user_id("alice".into());
    CallBatch::decode(raw, |deadline| deadline).unwrap()
}

fn plain(seconds: u64) -> Message {
    let mut message = request();
    (message.deadline, message.priority) =
        (Some(Deadline::after(Duration::from_secs(seconds))), None);
    message
}

#[test]
fn calls_of_a_batch_decode_as_single_requests_do() {
    let sent = [plain(5), plain(20), plain(20).with_message_id(MessageId::new("mine").unwrap())];
    let batch = decoded(calls(&sent));
    assert_eq!(batch.len(), 3);
    let requester = batch.first_address();
    assert_eq!(requester.as_ref().and_then(requester_part), Some(&b"\x07replies7"[..]));
    for (number, sent) in sent.iter().enumerate() {
        let single = sent.clone().with_id(CallId(number as u64));
        let single = encode_request(&"q".into(), &"replies".into(), 7, single, true).unwrap();
        let mut single = delivered(single);
        single.properties = single.properties.with_user_id("alice".into());
        let properties = single.properties.clone();
        let single = decode_request(&mut single, &Limits::default()).unwrap();
        let call = batch.request(number, &Limits::default()).unwrap();
        assert_eq!(
            (&call.method, call.id, &call.reply_to),
            (&single.method, single.id, &single.reply_to)
        );
        assert_eq!(
            (&call.content_type, &call.headers, &call.body, &call.message_id, &call.peer),
            (&single.content_type, &single.headers, &single.body, &single.message_id, &single.peer)
        );
        let (left, single_left) = (call.deadline.unwrap(), single.deadline.unwrap());
        assert!(left.remaining_ms().abs_diff(single_left.remaining_ms()) < 1_000, "{number}");
        // A call that leaves its batch is the same message as one that was alone.
        let copy = batch.single(number).unwrap();
        let expected = properties.clone();
        assert_eq!(copy.properties.headers().is_some(), expected.headers().is_some());
        for text in [
            (copy.properties.correlation_id(), expected.correlation_id()),
            (copy.properties.message_id(), expected.message_id()),
            (copy.properties.reply_to(), expected.reply_to()),
            (copy.properties.kind(), expected.kind()),
            (copy.properties.user_id(), expected.user_id()),
        ] {
            assert_eq!(text.0, text.1);
        }
        assert_eq!(copy.properties.delivery_mode(), expected.delivery_mode());
        assert_eq!((copy.attempt, copy.body), (1, single.body.into_bytes()));
        assert!(decode_declines(&copy.properties).is_none());
    }
    assert!(batch.request(3, &Limits::default()).is_none());
}

#[test]
fn returned_batch_names_its_calls() {
    let batch = decoded(calls(&[plain(5), plain(20)]));
    let returned = batch.to_client().unwrap();
    assert_eq!((returned.routing_key.as_str(), returned.mandatory), ("replies", true));
    let mut raw = delivered(returned);
    assert!(decode_replies(&mut raw, &Limits::default()).is_none());
    let returned = CallBatch::decode_returned(&mut raw).unwrap().unwrap();
    let calls: Vec<_> = returned.calls().collect();
    assert_eq!(calls[1].0, Correlation { requester: 7, call: CallId(1) });
    assert_eq!((calls.len(), &calls[0].1.method), (2, &request().method));
    assert!(CallBatch::decode(delivered(batch.to_client().unwrap()), |deadline| deadline).is_err());
}

#[test]
fn replies_of_a_batch_keep_their_faults_and_headers() {
    let fault = Fault::new(Code::Application, "nur 3 Stück")
        .with_kind("Épuisé")
        .with_details(&b"\x00\xff"[..]);
    let replies = [
        Message::new("done")
            .with_header("größe", "目")
            .with_content_type(ByteString::from_static("a/b")),
        Message::failed(fault.clone()),
        Message::failed(fault.permanent()),
    ];
    let sent = batch(&replies, None).into_replies(&"replies".into(), 64, true);
    assert!(sent.mandatory);
    let mut raw = delivered(sent);
    assert_eq!(announced(&raw.properties), Some(64));
    let decoded = decode_replies(&mut raw, &Limits::default()).unwrap().unwrap();
    assert_eq!(decoded.len(), 3);
    for ((number, sent), (correlation, reply)) in replies.into_iter().enumerate().zip(decoded) {
        let reply = reply.unwrap();
        assert_eq!(correlation, Correlation { requester: 7, call: CallId(number as u64) });
        assert_eq!(reply.id, Some(correlation.call));
        assert_eq!((reply.body, reply.headers), (sent.body, sent.headers));
        assert_eq!((reply.content_type, reply.deadline), (sent.content_type, None));
        let facts = |fault: Box<Fault>| (fault.is_permanent(), *fault);
        assert_eq!(reply.fault.map(facts), sent.fault.map(facts));
    }
}

#[test]
fn malformed_batches_are_refused_and_malformed_calls_are_answered() {
    let whole = calls(&[plain(5), plain(20)]);
    for end in 1..whole.body.len() {
        let cut = OutgoingMessage { body: whole.body.slice(..end), ..whole.clone() };
        let mut raw = delivered(cut);
        raw.properties = whole.properties.clone();
        // Cut between two entries, or within one.
        let batch = CallBatch::decode(raw, |deadline| deadline);
        assert!(batch.is_err() || batch.is_ok_and(|batch| batch.len() == 1), "{end}");
    }
    let mut many = BatchWriter::new(None, 0);
    (0..65).for_each(|_| many.push("7-1", &Message::default()));
    let many = delivered(many.into_calls(&"q".into(), &"replies".into(), true));
    assert!(CallBatch::decode(many, |deadline| deadline).is_err());
    // An unknown flag of the second call.
    let mut body = whole.body.to_vec();
    let first = u32::from_be_bytes(*body.first_chunk().unwrap()) as usize;
    body[4 + first + 4] |= 128;
    let batch = decoded(OutgoingMessage { body: body.into(), ..whole });
    let limits = Limits::default();
    assert!(batch.request(0, &limits).unwrap().fault.is_none());
    let call = batch.request(1, &limits).unwrap();
    assert_eq!(call.fault.unwrap().code, Code::InvalidArguments);
    assert_eq!(split_reply_address(&call.reply_to.unwrap()), Some(("replies", "7-1")));
    assert!(batch.single(1).is_none());
    let small = Limits { body_max: 1, ..limits };
    assert!(batch.request(0, &small).unwrap().fault.is_some());
}

#[test]
fn batches_with_random_changes_are_decoded_or_refused() {
    let whole = calls(&[plain(5), plain(20), Message::failed(Fault::new(Code::Internal, "no"))]);
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        let mut body = whole.body.to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..body.len());
            body[at] = random.u8(..);
        }
        body.truncate(random.usize(body.len() / 2..=body.len()));
        let changed = OutgoingMessage { body: body.into(), ..whole.clone() };
        if let Ok(batch) = CallBatch::decode(delivered(changed.clone()), |deadline| deadline) {
            for index in 0..batch.len() {
                let _ = (batch.request(index, &Limits::default()), batch.single(index));
            }
        }
        let mut replies = delivered(changed);
        replies.properties = replies.properties.with_type("polywire.batch.replies".into());
        assert!(decode_replies(&mut replies, &Limits::default()).is_some());
    }
}

#[test]
fn entries_are_as_long_as_was_estimated_or_shorter() {
    let fault = Fault::new(Code::InvalidArguments, "text").with_kind("kind");
    for message in [plain(5), Message::default(), Message::failed(fault)] {
        let len = entry_len(&message).unwrap();
        let mut batch = BatchWriter::new(Some(Deadline::after(Duration::from_secs(60))), 0);
        batch.push(&format!("{0}-{0}", u64::MAX), &message);
        let body = batch.into_calls(&"q".into(), &"r".into(), true).body;
        assert!(body.len() <= len, "{} {len}", body.len());
    }
    for name in ["polywire.x", "CC", "x-death", &"n".repeat(256)] {
        assert_eq!(entry_len(&Message::default().with_header(name, "x")), None, "{name}");
    }
}

#[test]
fn call_that_is_sent_again_is_a_suspect_or_a_second_attempt() {
    let encoded = || encode_request(&"q".into(), &"r".into(), 7, plain(5), true).unwrap();
    let raw = |is_suspect| -> RawDelivery { delivered(mark_redelivered(encoded(), is_suspect)) };
    assert_eq!((super::super::crashes(&raw(true)), super::super::attempt(&raw(true))), (0, 1));
    assert_eq!(super::super::attempt(&raw(false)), 2);
}
