//! Envelopes of the kit for backends: each message, error and outcome survives them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use polywire_codec::{Json, MessagePack};
use polywire_core::message::{
    CallId, DeadLetterReason, DeadLetterRecord, History, MessageId, ReplyTo,
};
use polywire_core::transport::kit::{
    Envelope, EnvelopeLimits, ErrorEnvelope, HistoryEnvelope, OutcomeEnvelope,
};
use polywire_core::transport::{DeadLetterInfo, Outcome, RetryAfter};
use polywire_core::{
    Address, Body, Code, Codec, Deadline, Error, ErrorKind, Fault, Headers, Message,
};
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Writes a value in both formats, and reads it again.
fn through_both<T: Serialize + DeserializeOwned>(value: &T) -> [T; 2] {
    let (mut json, mut msgpack) = (BytesMut::new(), BytesMut::new());
    Json.encode(value, &mut json).unwrap();
    MessagePack.encode(value, &mut msgpack).unwrap();
    [Json.decode(&json).unwrap(), MessagePack.decode(&msgpack).unwrap()]
}

fn addresses() -> impl Strategy<Value = Option<Address>> {
    proptest::option::of("[a-zé_][a-z0-9目]{0,8}(\\.[a-z]{1,5}){0,3}")
        .prop_map(|text| text.map(|text| Address::new(text).unwrap()))
}

fn byte_strings() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..40)
}

fn faults() -> impl Strategy<Value = Option<Fault>> {
    let fault = (0..Code::ALL.len(), any::<String>(), any::<String>(), byte_strings());
    let fault = (fault, any::<bool>()).prop_map(|((code, kind, text, details), is_permanent)| {
        let fault = Fault::new(Code::ALL[code], text).with_kind(kind).with_details(details);
        if is_permanent { fault.permanent() } else { fault }
    });
    proptest::option::of(fault)
}

fn histories() -> impl Strategy<Value = Option<History>> {
    let dead = proptest::option::of((any::<u32>(), 0..u64::from(u32::MAX)));
    let texts = proptest::option::of((".{0,40}", ".{0,40}"));
    let history = (texts, any::<u32>(), dead).prop_map(|(texts, redriven, dead)| {
        let mut history = History::default();
        if let Some((first, last)) = texts {
            history.first_error = Some(first.into());
            history.last_error = Some(last.into());
        }
        history.redriven = redriven;
        history.dead_letter = dead.map(|(attempts, at_ms)| {
            let at = UNIX_EPOCH + Duration::from_millis(at_ms);
            DeadLetterRecord::new(DeadLetterReason::Expired, attempts, at)
        });
        history
    });
    proptest::option::of(history)
}

/// Any message without a deadline, whose remaining time a test of its own compares.
fn messages() -> impl Strategy<Value = Message> {
    let names = (addresses(), addresses(), proptest::option::of("[^\\p{C}]{1,40}"));
    let reply = (any::<Option<u64>>(), proptest::option::of(byte_strings()), faults());
    let marks = (any::<[bool; 4]>(), any::<Option<u8>>(), proptest::option::of(".{0,30}"));
    let headers = proptest::collection::vec(("h[^\\p{C}]{0,9}", any::<String>()), 0..6);
    let frames = proptest::collection::vec(byte_strings(), 0..4);
    (names, reply, marks, headers, histories(), frames).prop_map(
        |((method, topic, id), (call, reply_to, fault), marks, headers, history, frames)| {
            let ([idempotent, keep_expired, transient, at_most_once], priority, content_type) =
                marks;
            Message::new(Body::from_frames(frames.into_iter().map(Bytes::from)))
                .with_method(method)
                .with_topic(topic)
                .with_id(call.map(CallId))
                .with_message_id(id.map(|id| MessageId::new(id).unwrap()))
                .with_reply_to(reply_to.map(ReplyTo::new))
                .with_idempotent(idempotent)
                .with_keep_expired(keep_expired)
                .with_transient(transient)
                .with_at_most_once(at_most_once)
                .with_fault(fault)
                .with_priority(priority)
                .with_content_type(content_type.map(bytestring::ByteString::from))
                .with_headers(headers.into_iter().collect::<Headers>())
                .with_history(history)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_message_survives(sent in messages()) {
        let limits = EnvelopeLimits::default();
        limits.check(&sent).unwrap();
        let envelope = Envelope::of(&sent);
        prop_assert_eq!(envelope.transient, sent.transient);
        let body = sent.body.clone().into_bytes();
        for came in through_both(&envelope) {
            prop_assert_eq!(&came, &envelope);
            prop_assert_eq!(came.body_len(&limits).unwrap(), body.len());
            let came = came.into_message(body.clone(), &limits).unwrap();
            prop_assert_eq!(&came.fault, &sent.fault);
            // No arriving message has the mark.
            let sent = sent.clone().with_transient(false);
            prop_assert_eq!(format!("{came:?}"), format!("{sent:?}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn deadline_is_what_is_left_when_the_envelope_is_made() {
    let sent = Message::default().with_deadline(Deadline::after(Duration::from_secs(9)));
    assert!(Envelope::of(&Message::default()).sent_at().is_none());
    tokio::time::advance(Duration::from_secs(2)).await;
    let envelope = Envelope::of(&sent);
    assert_eq!(envelope.left_ms, Some(7_000));
    assert!(envelope.sent_at().is_some());
    tokio::time::advance(Duration::from_secs(3)).await;
    let came = envelope.into_message("", &EnvelopeLimits::default()).unwrap();
    assert_eq!(came.deadline.map(Deadline::remaining_ms), Some(7_000));
}

#[test]
fn errors_keep_what_code_branches_on() {
    let kinds = [
        ErrorKind::Closed,
        ErrorKind::Codec,
        ErrorKind::Config,
        ErrorKind::DeadlineExceeded,
        ErrorKind::Denied,
        ErrorKind::Disconnected,
        ErrorKind::Overloaded,
        ErrorKind::Rejected,
        ErrorKind::RepliesLost,
        ErrorKind::TooLarge,
        ErrorKind::Unroutable,
        ErrorKind::Unsupported,
    ];
    for kind in kinds {
        let plain = Error::new(kind, "no server").with("service", "x");
        for error in [plain.clone(), plain.with_call(CallId(u64::MAX)).unsent().fatal()] {
            for came in through_both(&ErrorEnvelope::of(&error)) {
                let came = came.into_error();
                assert_eq!((came.kind(), came.call()), (kind, error.call()));
                assert_eq!(came.is_unsent(), error.is_unsent());
                assert_eq!(came.is_fatal(), error.is_fatal());
                assert_eq!(came.to_string(), "no server (service: x)");
            }
        }
    }
}

#[test]
fn outcomes_survive() {
    let fault = Fault::declined("no graphics card").with_details(&b"\xff"[..]);
    let retry = RetryAfter::new(Duration::from_micros(1_500), "busy");
    let dead = DeadLetterInfo::new(DeadLetterReason::Exhausted, "broken");
    for (sent, expected) in [
        (Outcome::Ack, Outcome::Ack),
        (Outcome::Discard, Outcome::Discard),
        (Outcome::Requeue, Outcome::Requeue),
        (Outcome::Decline(Box::new(fault.clone())), Outcome::Decline(Box::new(fault))),
        // A retry is not early.
        (
            Outcome::Retry(Box::new(retry)),
            Outcome::Retry(Box::new(RetryAfter::new(Duration::from_millis(2), "busy"))),
        ),
        (Outcome::DeadLetter(Box::new(dead.clone())), Outcome::DeadLetter(Box::new(dead))),
    ] {
        for came in through_both(&OutcomeEnvelope::of(&sent)) {
            assert_eq!(came.into_outcome(), expected);
        }
    }
}

#[test]
fn long_error_texts_are_cut() {
    let long = "é".repeat(History::ERROR_MAX);
    let cut = "é".repeat(History::ERROR_MAX / 2);
    let mut history = History::default();
    history.first_error = Some(long.clone().into());
    let envelope = HistoryEnvelope::of(&history);
    assert_eq!(envelope.first_error.as_ref(), Some(&cut));
    let mut received = HistoryEnvelope::default();
    received.last_error = Some(long.clone());
    assert_eq!(received.into_history().last_error.as_deref(), Some(cut.as_str()));
    let retry = Outcome::Retry(Box::new(RetryAfter::new(Duration::ZERO, long.clone())));
    let Outcome::Retry(retry) = OutcomeEnvelope::of(&retry).into_outcome() else {
        panic!("another outcome came")
    };
    assert_eq!(&*retry.error, cut.as_str());
    let error = ErrorEnvelope::of(&Error::new(ErrorKind::Codec, long));
    assert_eq!(error.text, cut);
}

#[test]
fn time_of_a_dead_letter_is_kept() {
    let at = SystemTime::now();
    let mut history = History::default();
    history.dead_letter = Some(DeadLetterRecord::new(DeadLetterReason::Crashed, 3, at));
    let came = HistoryEnvelope::of(&history).into_history().dead_letter.unwrap();
    assert_eq!((came.reason, came.attempts), (DeadLetterReason::Crashed, 3));
    assert!(at.duration_since(came.at).unwrap() < Duration::from_millis(1));
}
