//! Encoding and decoding of envelopes, as data.

use std::time::Duration;

use bytes::Bytes;
use polywire_core::message::{CallId, MessageId, SentAt};
use polywire_core::{Address, Body, Code, Deadline, ErrorKind, Fault, Limits, Message, Result};

use super::layout::INLINE_MAX;
use super::{DecodeFailure, Frames, MessageRole};

/// The worked example of `docs/wire-native.md`.
const EXAMPLE: &str = "50 01 01 03 00 00 00 00 00 00 00 2a 00 00 75 30 \
    09 10 00 00 00 00 00 00 00 ff 00 00 01 9a cd 3e 3f 00 \
    01 04 63 61 6c 63 02 03 61 64 64 03 13 61 70 70 6c 69 63 61 74 69 6f 6e 2f 6d 73 67 70 61 63 6b \
    04 0a 06 74 65 6e 61 6e 74 61 62 63 81 03 92 02 03";

fn example() -> (MessageRole, Message) {
    let mut message = Message::request(address("add"), Deadline::after(Duration::from_secs(30)));
    message.id = Some(CallId(42));
    message.content_type = Some("application/msgpack".into());
    message.headers.insert("tenant", "abc");
    message.body = vec![0x92, 0x02, 0x03].into();
    (MessageRole::Request(address("calc")), message)
}

fn address(name: &str) -> Address {
    Address::new(name.to_owned()).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn decode(head: Vec<u8>) -> Result<(MessageRole, Box<Message>), DecodeFailure> {
    let frames = Frames { head: Bytes::from(head), body: None };
    super::decode(frames, &Limits::default())
}

fn round_trip(role: &MessageRole, message: &Message) -> (MessageRole, Box<Message>) {
    let frames = super::encode(role, message.clone(), &Limits::default()).unwrap();
    super::decode(frames, &Limits::default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn documented_example_is_what_is_encoded() {
    let (role, message) = example();
    let frames = super::encode(&role, message, &Limits::default()).unwrap();
    let mut head = Vec::from(frames.head.clone());
    assert_eq!(super::sent_at(&frames).unwrap().clock, SentAt::now().clock);
    let sent = SentAt { clock: 255, ms: 1_764_380_000_000 };
    head[18..34].copy_from_slice(&sent.to_bytes());
    let frames = Frames { head: Bytes::from(head), body: frames.body };
    assert_eq!(super::sent_at(&frames), Some(sent));
    assert_eq!(frames, Frames { head: Bytes::from(bytes(EXAMPLE)), body: None });
    let doc = include_str!("../../../docs/wire-native.md");
    let documented: Vec<_> =
        doc.lines().filter_map(|line| line.strip_prefix("    ")?.split_once("  ; ")).collect();
    let documented: Vec<_> = documented.iter().flat_map(|(hex, _)| bytes(hex)).collect();
    assert_eq!(documented, bytes(EXAMPLE), "the document shows another example");
}

#[tokio::test(start_paused = true)]
async fn requests_replies_and_refusals_round_trip() {
    let (role, request) = example();
    let (role_back, back) = round_trip(&role, &request);
    assert_eq!(role_back, role);
    assert_eq!(
        (back.method, back.id, back.deadline),
        (request.method, request.id, request.deadline)
    );
    assert_eq!(
        (back.content_type, back.headers, back.body),
        (request.content_type, request.headers, request.body)
    );

    for code in Code::ALL {
        for fault in [
            Fault::new(code, ""),
            Fault::new(code, "größer").with_kind("").with_details(vec![0, 255]),
            Fault::new(code, "x".repeat(300)).with_kind("OutOfStock"),
            Fault::new(code, "").permanent(),
        ] {
            let mut reply = Message::failed(fault.clone());
            reply.id = Some(CallId(u64::MAX));
            let (role, back) = round_trip(&MessageRole::Reply, &reply);
            assert_eq!(
                (role, back.id, back.fault.as_deref()),
                (MessageRole::Reply, reply.id, Some(&fault))
            );
        }
    }

    let mut refusal = Message::default();
    refusal.id = Some(CallId(7));
    for sent in [
        MessageRole::Refusal,
        MessageRole::Loss,
        MessageRole::Leave,
        MessageRole::Cancel(address("calc")),
    ] {
        let (role, back) = round_trip(&sent, &refusal);
        assert_eq!((role, back.id), (sent, Some(CallId(7))));
    }
}

#[tokio::test(start_paused = true)]
async fn cancel_and_idempotent_request_are_encoded_as_documented() {
    let mut message = Message::default();
    message.id = Some(CallId(42));
    let cancel =
        super::encode(&MessageRole::Cancel(address("calc")), message, &Limits::default()).unwrap();
    assert_eq!(
        cancel.head,
        bytes("50 01 06 01 00 00 00 00 00 00 00 2a 00 00 00 00 01 04 63 61 6c 63")
    );
    let (role, mut request) = example();
    assert!(!round_trip(&role, &request).1.idempotent);
    request.idempotent = true;
    let frames = super::encode(&role, request, &Limits::default()).unwrap();
    assert_eq!(frames.head[3], 7);
    assert!(super::peek(&frames).unwrap().idempotent);
    assert!(super::decode(frames, &Limits::default()).unwrap().1.idempotent);
    let mut once = example().1;
    once.at_most_once = true;
    let frames = super::encode(&role, once, &Limits::default()).unwrap();
    assert_eq!(frames.head[3], 11);
    assert!(super::decode(frames, &Limits::default()).unwrap().1.at_most_once);
    let failure = decode(bytes("50 01 06 01 00 00 00 00 00 00 00 2a 00 00 00 00")).unwrap_err();
    assert!(failure.error.to_string().contains("names no service"));
}

#[test]
fn jobs_and_events_round_trip() {
    let mut message = Message::new("abc");
    message.content_type = Some("text/plain".into());
    message.headers.insert("tenant", "abc");
    message.message_id = Some(MessageId::unique());
    for sent in [MessageRole::Job(address("thumbnails")), MessageRole::Event] {
        let (role, back) = round_trip(&sent, &message);
        assert_eq!(role, sent);
        assert_eq!((back.id, back.deadline), (None, None));
        assert_eq!(
            (back.content_type, &back.headers),
            (message.content_type.clone(), &message.headers)
        );
        assert_eq!(
            (back.body, back.message_id),
            (message.body.clone(), message.message_id.clone())
        );
    }
    let failure = decode(bytes("50 01 04 00 00 00 00 00 00 00 00 00 00 00 00 00")).unwrap_err();
    assert!(failure.error.to_string().contains("names no queue"));
}

#[tokio::test(start_paused = true)]
async fn restamp_writes_the_time_left_now() {
    let (role, message) = example();
    let deadline = message.deadline.unwrap();
    let mut frames = super::encode(&role, message, &Limits::default()).unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    super::restamp(&mut frames, deadline);
    let (_, back) = super::decode(frames, &Limits::default()).unwrap();
    assert_eq!(back.deadline, Some(deadline));
    assert_eq!(back.headers.get("tenant"), Some("abc"));
    // A message without a deadline gets none.
    let mut endless =
        super::encode(&MessageRole::Reply, Message::new("a"), &Limits::default()).unwrap();
    let before = endless.clone();
    super::restamp(&mut endless, deadline);
    assert_eq!(endless, before);
}

#[test]
fn body_frames_keep_their_boundaries() {
    let mut reply = Message::default();
    for frames in [vec!["ab", "", "c"], vec!["", ""], vec![""], vec!["abc"]] {
        reply.body = Body::from_frames(frames.into_iter().map(Bytes::from));
        assert_eq!(round_trip(&MessageRole::Reply, &reply).1.body, reply.body);
    }
}

#[test]
fn large_body_is_a_separate_frame_and_is_not_copied() {
    for (size, inline) in [(INLINE_MAX, true), (INLINE_MAX + 1, false)] {
        let body = Bytes::from(vec![7; size]);
        let frames =
            super::encode(&MessageRole::Reply, Message::new(body.clone()), &Limits::default())
                .unwrap();
        assert_eq!(frames.body.is_none(), inline);
        let (_, back) = super::decode(frames, &Limits::default()).unwrap();
        assert_eq!(back.body.as_slice().unwrap(), body);
        assert_eq!(back.body.as_slice().unwrap().as_ptr() == body.as_ptr(), !inline);
    }
}

#[test]
fn message_id_is_encoded_as_documented() {
    let message = Message::new("b").with_message_id(MessageId::new("order-7").unwrap());
    let job = super::encode(&MessageRole::Job(address("a")), message, &Limits::default()).unwrap();
    let (fixed, fields) = job.head.split_at(16);
    assert_eq!(fixed[..4], bytes("50 01 04 00"));
    assert_eq!(fields, bytes("01 01 61 0a 07 6f 72 64 65 72 2d 37 81 01 62"));
}

#[test]
fn unknown_fields_are_skipped_unless_critical() {
    let unknown = |tag: u8| [bytes(EXAMPLE), vec![tag, 2, 9, 9]].concat();
    let (role, message) = decode(unknown(0x7F)).unwrap();
    assert_eq!((role, message.id), (MessageRole::Request(address("calc")), Some(CallId(42))));
    let failure = decode(unknown(0x80)).unwrap_err();
    assert_eq!(failure.call, Some(CallId(42)));
    assert_eq!(failure.service, Some(address("calc")));
    assert_eq!(failure.error.detail("tag"), Some("128"));
}

#[test]
fn malformed_envelope_names_cause_and_position() {
    let with = |more: &str| format!("50 01 02 01 00 00 00 00 00 00 00 2a 00 00 00 00 {more}");
    for (head, what, byte, id_known) in [
        (String::new(), "ends early", 0, false),
        ("50 01".to_owned(), "ends early", 2, false),
        (EXAMPLE.replacen("50", "51", 1), "begin with", 0, false),
        (EXAMPLE.replacen("50 01", "50 02", 1), "unknown version", 1, false),
        (EXAMPLE.replacen("50 01 01", "50 01 09", 1), "kind of message", 2, false),
        (with("").replacen("50 01 02", "50 01 01", 1), "no service", 16, true),
        (with("03"), "length ends early", 17, true),
        (with("03 80 80 80 80 00"), "longer than 4 bytes", 17, true),
        (with("03 05 61"), "longer than the rest", 16, true),
        (with("03 01 ff"), "not UTF-8", 16, true),
        (with("02 00"), "no valid address", 16, true),
        (with("03 01 61 03 01 61"), "occurs twice", 19, true),
        (with("0a 00"), "no valid message id", 16, true),
        (with("0a 01 0a"), "no valid message id", 16, true),
        (with("0a 01 ff"), "not UTF-8", 16, true),
        (with("0a 01 61 0a 01 61"), "occurs twice", 19, true),
        (with("04 00"), "length ends early", 16, true),
        (with("04 02 05 61"), "longer than the header", 16, true),
        (with("04 03 01 61 ff"), "header is not UTF-8", 16, true),
        (with("05 00"), "not one byte", 16, true),
        (with("07 00"), "before its code", 16, true),
        (with("0b 00"), "before its code", 16, true),
        (with("81 01 61 81 01 61"), "after it, or twice", 19, true),
    ] {
        let DecodeFailure { error, call, .. } = decode(bytes(&head)).unwrap_err();
        assert!(error.to_string().contains(what), "{head}: {error}");
        assert_eq!(error.detail("byte"), Some(byte.to_string().as_str()), "{head}: {error}");
        assert_eq!(call, id_known.then_some(CallId(42)), "{head}");
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert!(!error.is_unsent());
    }
}

#[test]
fn truncated_or_altered_envelopes_never_panic() {
    let mut reply =
        Message::failed(Fault::new(Code::Internal, "no").with_kind("K").with_details(vec![1, 2]));
    reply.id = Some(CallId(1));
    let fault =
        super::encode(&MessageRole::Reply, reply, &Limits::default()).unwrap().head.to_vec();
    let [job, cancel] =
        [MessageRole::Job(address("a")), MessageRole::Cancel(address("a"))].map(|role| {
            super::encode(&role, Message::new("b"), &Limits::default()).unwrap().head.to_vec()
        });
    for whole in [bytes(EXAMPLE), fault, job, cancel] {
        for at in 0..whole.len() {
            let _ = super::is_declined(&Frames { head: whole[..at].to_vec().into(), body: None });
            let _ = decode(whole[..at].to_vec());
            for value in 0..=u8::MAX {
                let mut altered = whole.clone();
                altered[at] = value;
                let _ = super::is_declined(&Frames { head: altered.clone().into(), body: None });
                let _ = decode(altered);
            }
        }
    }
}

#[test]
fn message_beyond_a_limit_is_too_large() {
    let (role, message) = example();
    let frames = super::encode(&role, message, &Limits::default()).unwrap();
    for limits in [
        Limits { body_max: 2, ..Limits::default() },
        Limits { headers_max: 0, ..Limits::default() },
        Limits { header_bytes_max: 8, ..Limits::default() },
    ] {
        let failure = super::decode(frames.clone(), &limits).unwrap_err();
        assert_eq!(failure.error.kind(), ErrorKind::TooLarge);
        assert_eq!((failure.call, failure.service), (Some(CallId(42)), Some(address("calc"))));
        assert!(!failure.error.is_unsent());
    }
    let verbose = Message::failed(Fault::new(Code::Internal, "x".repeat(1 << 20)));
    let error = super::encode(&MessageRole::Reply, verbose, &Limits::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.is_unsent());
}

#[test]
fn oversized_envelope_is_not_decoded() {
    let huge = [bytes(EXAMPLE), vec![0; 1 << 20]].concat();
    let failure = decode(huge).unwrap_err();
    assert_eq!(failure.error.kind(), ErrorKind::TooLarge);
    assert_eq!(failure.call, Some(CallId(42)));
}

#[test]
fn declining_reply_is_recognized() {
    let declined = Message::failed(Fault::declined("no lens"));
    let mut late = declined.clone();
    late.headers.insert("name", "x".repeat(1000));
    late.content_type = Some("text/plain".into());
    let others = [
        Message::failed(Fault::new(Code::Internal, "no")),
        Message::new("b"),
        Message::new(vec![5, 1, 8]),
    ];
    for (messages, is_declined) in [(vec![declined, late], true), (others.into(), false)] {
        for message in messages {
            let frames = super::encode(&MessageRole::Reply, message, &Limits::default()).unwrap();
            assert_eq!(super::is_declined(&frames), is_declined, "{frames:?}");
        }
    }
}
