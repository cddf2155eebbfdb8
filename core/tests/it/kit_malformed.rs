//! Malformed envelopes of the kit for backends: they are refused, and never more.

use bytes::BytesMut;
use polywire_codec::{Json, MessagePack};
use polywire_core::message::{CallId, DeadLetterReason, History, MessageId, ReplyTo};
use polywire_core::transport::Outcome;
use polywire_core::transport::kit::{
    DeadLetterEnvelope, Envelope, EnvelopeLimits, ErrorEnvelope, FaultEnvelope, OutcomeEnvelope,
};
use polywire_core::{Address, Code, Codec, Error, ErrorKind, Fault, Headers, Limits, Message};
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, proptest};

/// Limits that a short text exceeds.
const SMALL: EnvelopeLimits = EnvelopeLimits {
    message: Limits { body_max: 9, frames_max: 2, headers_max: 2, header_bytes_max: 9 },
    fault_max: 9,
    content_type_max: 9,
    reply_to_max: 9,
};

/// Returns the error about an envelope that is changed in one place.
#[track_caller]
fn refused(body: &'static str, change: impl FnOnce(&mut Envelope)) -> Error {
    let mut envelope = Envelope::of(&Message::new(body));
    assert!(envelope.clone().into_message(body, &SMALL).is_ok());
    change(&mut envelope);
    let error = envelope.into_message(body, &SMALL).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    error
}

fn texts() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(".{0,12}")
}

fn byte_strings() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..12)
}

/// Any envelope that a peer may send, of which most are malformed.
fn envelopes() -> impl Strategy<Value = Envelope> {
    let names = (texts(), texts(), texts(), texts());
    let numbers = (any::<Option<u64>>(), any::<Option<u64>>(), any::<Option<(u64, u64)>>());
    let fault = proptest::option::of((any::<u8>(), ".{0,6}", ".{0,6}", byte_strings()));
    let headers = proptest::collection::vec((".{0,5}", ".{0,5}"), 0..4);
    let frames = proptest::collection::vec(0_u64..6, 0..4);
    let reply_to = proptest::option::of(byte_strings());
    (names, numbers, fault, headers, frames, reply_to).prop_map(
        |((method, topic, id, format), (call, left_ms, stamp), fault, headers, frames, at)| {
            let mut envelope = Envelope::default();
            (envelope.method, envelope.topic, envelope.message_id) = (method, topic, id);
            (envelope.id, envelope.left_ms, envelope.stamp) = (call, left_ms, stamp);
            (envelope.content_type, envelope.reply_to) = (format, at);
            (envelope.headers, envelope.frames) = (headers, frames);
            envelope.fault = fault.map(|(code, kind, message, details)| {
                let mut fault = FaultEnvelope::default();
                (fault.code, fault.kind, fault.message) = (code, kind, message);
                fault.details = details;
                fault
            });
            envelope
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoded_message_is_within_the_limits_of_a_sender(
        envelope in envelopes(),
        body in byte_strings(),
    ) {
        let fits = envelope.body_len(&SMALL).is_ok_and(|len| len == body.len());
        match envelope.clone().into_message(body, &SMALL) {
            Ok(message) => prop_assert!(fits && SMALL.check(&message).is_ok(), "{message:?}"),
            Err(error) => {
                prop_assert!(error.kind() == ErrorKind::Codec, "{error:?}");
                let answer = envelope.refused(&error, &SMALL);
                let is_short = |at: &Vec<u8>| at.len() <= SMALL.reply_to_max;
                let has_caller = envelope.id.is_some() && envelope.reply_to.is_some_and(|at| is_short(&at));
                prop_assert!(answer.is_some() == has_caller);
            }
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for envelope in [Json.decode::<Envelope>(&bytes), MessagePack.decode(&bytes)] {
            let _ = envelope.map(|envelope| envelope.into_message("", &SMALL));
        }
    }
}

#[test]
fn each_limit_is_named() {
    let fault = |details: usize| {
        let mut fault = FaultEnvelope::default();
        (fault.message, fault.details) = ("12345".to_owned(), vec![0; details]);
        fault
    };
    let headers = |count: usize, len: usize| {
        (0..count).map(|n| (n.to_string(), "x".repeat(len))).collect::<Vec<_>>()
    };
    let same = || vec![("x".to_owned(), String::new()); 3];
    for (error, what) in [
        (refused("", |envelope| envelope.frames = vec![10]), "body"),
        (refused("", |envelope| envelope.frames = vec![u64::MAX, 1]), "body"),
        (refused("", |envelope| envelope.frames = vec![0; 3]), "frames"),
        (refused("", |envelope| envelope.headers = headers(3, 0)), "headers"),
        (refused("", |envelope| envelope.headers = same()), "headers"),
        (refused("", |envelope| envelope.headers = headers(1, 9)), "header bytes"),
        (refused("", |envelope| envelope.fault = Some(fault(5))), "fault"),
        (refused("", |envelope| envelope.content_type = Some("x".repeat(10))), "content type"),
        (refused("", |envelope| envelope.reply_to = Some(vec![0; 10])), "reply address"),
    ] {
        assert_eq!(error.detail("what"), Some(what), "{error}");
    }
    let mut largest = Envelope::of(&Message::new("123456789"));
    (largest.headers, largest.fault) = (headers(1, 8), Some(fault(4)));
    (largest.content_type, largest.reply_to) = (Some("x".repeat(9)), Some(vec![0; 9]));
    assert!(largest.into_message("123456789", &SMALL).is_ok());
}

#[test]
fn malformed_fields_are_named() {
    let text = |text: &str| Some(text.to_owned());
    for (error, cause) in [
        (refused("", |envelope| envelope.method = text("two words")), "white space"),
        (refused("", |envelope| envelope.method = text(&"x".repeat(201))), "longer"),
        (refused("", |envelope| envelope.topic = text("a..b")), "empty"),
        (refused("", |envelope| envelope.message_id = text("")), "empty"),
        (refused("ab", |envelope| envelope.frames = vec![1]), "another length"),
        (refused("ab", |envelope| envelope.frames = vec![1, 2]), "another length"),
        (refused("ab", |envelope| envelope.frames = Vec::new()), "another length"),
    ] {
        assert!(error.to_string().contains(cause), "{error}");
    }
    let reserved = format!("{}x", Headers::RESERVED);
    let mut envelope = Envelope::default();
    envelope.headers = vec![(reserved, String::new())];
    let error = envelope.into_message("", &EnvelopeLimits::default()).unwrap_err();
    assert!(error.to_string().contains("reserved"), "{error}");
}

#[test]
fn outgoing_messages_have_the_same_limits() {
    let fault = Fault::new(Code::Internal, "12345").with_kind("").with_details(vec![0_u8; 5]);
    for (message, what) in [
        (Message::new("1234567890"), "body"),
        (Message::failed(fault), "fault"),
        (
            Message::default().with_content_type(bytestring::ByteString::from("0123456789")),
            "content type",
        ),
        (Message::default().with_reply_to(ReplyTo::new("0123456789")), "reply address"),
    ] {
        let error = SMALL.check(&message).unwrap_err();
        assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::TooLarge, true));
        assert_eq!(error.detail("what"), Some(what));
    }
}

#[test]
fn largest_envelope_is_within_the_announced_bound() {
    let limits = EnvelopeLimits::default();
    // JSON writes each of these characters as six.
    let text = |bytes: usize| "\u{1}".repeat(bytes);
    let name = |n: usize| format!("{n:02}{}", text(8));
    let longest = Address::new("x".repeat(Address::MAX)).unwrap();
    let fault = Fault::new(Code::Internal, text(limits.fault_max)).with_kind("");
    let mut history = History::default();
    history.failed(&text(History::ERROR_MAX).into());
    history.dead_lettered(DeadLetterReason::Overflowed, u32::MAX, &"".into());
    let headers = limits.message.headers_max;
    let message = Message::default()
        .with_method(longest.clone())
        .with_topic(longest)
        .with_id(CallId(u64::MAX))
        .with_message_id(MessageId::new("\"".repeat(MessageId::MAX)).unwrap())
        .with_reply_to(ReplyTo::new(vec![0xff_u8; limits.reply_to_max]))
        .with_content_type(bytestring::ByteString::from(text(limits.content_type_max)))
        .with_headers((0..headers).map(|n| (name(n), text(246))).collect())
        .with_history(history)
        .with_fault(fault);
    limits.check(&message).unwrap();
    let mut envelope = Envelope::of(&message);
    envelope.frames = vec![u64::MAX; limits.message.frames_max];
    (envelope.left_ms, envelope.stamp) = (Some(u64::MAX), Some((u64::MAX, u64::MAX)));
    let mut json = BytesMut::new();
    Json.encode(&envelope, &mut json).unwrap();
    let bound = limits.encoded_max();
    assert!(json.len() <= bound && json.len() > bound / 2, "{} of {bound}", json.len());
}

#[test]
fn cut_envelope_is_an_error() {
    let message = Message::failed(Fault::new(Code::Denied, "no")).with_header("a", "b");
    let mut json = BytesMut::new();
    Json.encode(&Envelope::of(&message), &mut json).unwrap();
    for len in 0..json.len() {
        assert!(Json.decode::<Envelope>(&json[..len]).is_err(), "{len}");
    }
}

#[test]
fn unknown_and_missing_fields_are_no_errors() {
    let limits = EnvelopeLimits::default();
    for json in ["{}", r#"{"colour": [1, {"a": 2}]}"#] {
        let envelope: Envelope = Json.decode(json.as_bytes()).unwrap();
        let message = envelope.into_message("", &limits).unwrap();
        assert_eq!(format!("{message:?}"), format!("{:?}", Message::default()));
    }
    let fault: FaultEnvelope = Json.decode(br#"{"code": 200}"#).unwrap();
    assert_eq!(fault.into_fault().code, Code::Internal);
    let error: ErrorEnvelope = Json.decode(br#"{"kind": "teapot"}"#).unwrap();
    assert_eq!(error.into_error().kind(), ErrorKind::Rejected);
    let record: DeadLetterEnvelope = Json.decode(br#"{"at_ms": 18446744073709551615}"#).unwrap();
    assert_eq!(record.into_record().reason, DeadLetterReason::Other);
    let outcome: OutcomeEnvelope =
        Json.decode(br#"{"DeadLetter": {"reason": "of old age", "error": ""}}"#).unwrap();
    let Outcome::DeadLetter(info) = outcome.into_outcome() else { panic!("another outcome came") };
    assert_eq!(info.reason, DeadLetterReason::Other);
}
