//! A part of the engine that parses, over connections with the same messages.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use amq_protocol::frame::{AMQPFrame, parse_frame};
use futures_io::AsyncRead;
use lapin::protocol::{AMQPError, AMQPHardError};
use lapin::types::AMQPValue;

use super::*;
use crate::connection::inbound_filter::content_header::fingerprint;
use crate::connection::inbound_filter::filtered_stream::FilteredStream;
use crate::connection::inbound_filter::tests::{frame, is_malformed, long, short};
use crate::wire::native::MALFORMED;

const REPLY_TO: u16 = 1 << 9;
const TYPE: u16 = 1 << 5;
const HEADERS: u16 = 1 << 13;

/// Reads a connection as the engine does: parses what it has whenever there is nothing to read, and
/// fails over frames that are `fatal`. Then notes the end of the connection.
fn connection(
    search: &FatalMessageSearch,
    bytes: &[u8],
    fatal: impl Fn(&AMQPFrame) -> bool,
) -> (Vec<AMQPFrame>, Option<FoundQueue>) {
    let mut stream = FilteredStream::new(bytes, 0).with_search(search).unchecked(true);
    let mut context = Context::from_waker(Waker::noop());
    let (mut received, mut frames, mut buffer) = (Vec::new(), Vec::new(), [0; 64]);
    loop {
        let is_end = match Pin::new(&mut stream).poll_read(&mut context, &mut buffer) {
            Poll::Ready(read) => {
                let count = read.unwrap();
                received.extend(&buffer[..count]);
                if count > 0 {
                    continue;
                }
                true
            }
            Poll::Pending => false,
        };
        while !received.is_empty() {
            let error = match parse_frame(&received[..]) {
                Ok((rest, frame)) if !fatal(&frame) => {
                    received = rest.to_vec();
                    frames.push(frame);
                    continue;
                }
                Ok(_) => ErrorKind::InvalidChannel(1),
                Err(error) if error.is_incomplete() => break,
                Err(error) => ErrorKind::ParsingError(error),
            };
            return (frames, search.note_end(Some(&error.into())));
        }
        if is_end {
            return (frames, search.note_end(None));
        }
    }
}

fn deliver(channel: u16, queue: &str, is_redelivered: bool) -> Vec<u8> {
    let flag = [u8::from(is_redelivered)];
    let tag = short(queue.as_bytes());
    let payload = [&[0, 60, 0, 60][..], &tag, &[0; 8], &flag, &short(b""), &short(b"key")];
    frame(1, channel, &payload.concat())
}

fn header(flags: u16, properties: &[u8]) -> Vec<u8> {
    [&[0, 60, 0, 0][..], &1_u64.to_be_bytes(), &flags.to_be_bytes(), properties].concat()
}

fn message(channel: u16, queue: &str, header: &[u8]) -> Vec<u8> {
    let redelivered = deliver(channel, queue, true);
    [redelivered, frame(2, channel, header), frame(3, channel, b"x")].concat()
}

/// A message that can be parsed, then one that cannot, then another one.
fn messages() -> Vec<u8> {
    let good = header(TYPE, &short(b"good"));
    let fatal = header(REPLY_TO | TYPE, &[short(b"answers"), short(b"gr\xf6\xdfe")].concat());
    [message(1, "jobs", &good), message(1, "jobs", &fatal), message(2, "other", &good)].concat()
}

fn nothing(_: &AMQPFrame) -> bool {
    false
}

#[test]
fn message_that_ends_three_connections_is_taken_aside_and_no_other() {
    let search = FatalMessageSearch::default();
    for _ in 0..2 {
        assert!(connection(&search, &messages(), nothing).1.is_none());
    }
    let found = connection(&search, &messages(), nothing).1.unwrap();
    assert_eq!((found.queue.as_str(), found.ends), ("jobs", 3));
    assert_eq!(found.treatment, Treatment::WithoutHeaders);
    let (frames, end) = connection(&search, &messages(), nothing);
    assert!(end.is_none());
    let headers = frames.iter().filter(|frame| matches!(frame, AMQPFrame::Header(..)));
    let headers = headers.collect::<Vec<_>>();
    assert_eq!(frames.len(), 9);
    assert_eq!(
        headers.iter().map(|frame| is_malformed(frame)).collect::<Vec<_>>(),
        [false, true, false]
    );
    let AMQPFrame::Header(_, header) = headers[1] else { panic!("{frames:?}") };
    assert_eq!(header.properties.reply_to().as_ref().unwrap().as_str(), "answers");
    assert!(header.properties.kind().is_none());
    let AMQPValue::LongString(cause) =
        &header.properties.headers().as_ref().unwrap().inner()[MALFORMED]
    else {
        panic!("{header:?}")
    };
    assert!(cause.to_string().starts_with("the AMQP engine failed at it: failed to parse"));
}

#[test]
fn further_message_of_a_known_queue_ends_one_connection() {
    let search = FatalMessageSearch::default();
    for _ in 0..3 {
        connection(&search, &messages(), nothing);
    }
    let bytes = [messages(), message(1, "jobs", &header(TYPE, &short(b"\xff")))].concat();
    assert!(connection(&search, &bytes, nothing).1.is_some());
    let (frames, end) = connection(&search, &bytes, nothing);
    assert!(end.is_none() && frames.len() == 12);
}

#[test]
fn new_message_is_not_taken_for_the_redelivered_one() {
    let search = FatalMessageSearch::default();
    let fatal = header(TYPE, &short(b"\xff"));
    let first = [deliver(1, "jobs", false), frame(2, 1, &fatal)].concat();
    for _ in 0..3 {
        connection(&search, &message(1, "jobs", &fatal), nothing);
    }
    assert!(connection(&search, &first, nothing).1.is_some(), "the engine got it");
}

#[test]
fn treatment_goes_on_until_nothing_helps() {
    let search = FatalMessageSearch::default();
    let headers = |frame: &AMQPFrame| matches!(frame, AMQPFrame::Header(..));
    let bytes = message(1, "jobs", &header(TYPE, &short(b"good")));
    let treatments = (0..5).map(|_| connection(&search, &bytes, headers).1);
    let treatments = treatments.map(|found| found.map(|found| found.treatment));
    assert_eq!(
        treatments.collect::<Vec<_>>(),
        [
            None,
            None,
            Some(Treatment::WithoutHeaders),
            Some(Treatment::WithoutProperties),
            Some(Treatment::Impossible),
        ]
    );
}

#[test]
fn fatal_method_and_body_name_the_queue() {
    let bytes = message(1, "jobs", &header(TYPE, &short(b"good")));
    let is_method = |frame: &AMQPFrame| matches!(frame, AMQPFrame::Method(..));
    let is_body = |frame: &AMQPFrame| matches!(frame, AMQPFrame::Body(..));
    for (fatal, treatment) in [
        (&is_method as &dyn Fn(&AMQPFrame) -> bool, Treatment::Impossible),
        (&is_body, Treatment::WithoutHeaders),
    ] {
        let search = FatalMessageSearch::default();
        let found = (0..3).filter_map(|_| connection(&search, &bytes, fatal).1).collect::<Vec<_>>();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].queue.as_str(), found[0].treatment), ("jobs", treatment));
    }
}

#[test]
fn message_that_the_engine_survives_is_no_suspect() {
    let search = FatalMessageSearch::default();
    let bytes = message(1, "jobs", &header(TYPE, &short(b"good")));
    let is_header = |frame: &AMQPFrame| matches!(frame, AMQPFrame::Header(..));
    for _ in 0..3 {
        assert!(connection(&search, &bytes, is_header).1.is_none());
        assert_eq!(connection(&search, &bytes, nothing).0.len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn old_ends_are_forgotten_and_careful_reading_ends() {
    let search = FatalMessageSearch::default();
    for _ in 0..2 {
        connection(&search, &messages(), nothing);
    }
    assert!(search.begin().careful().is_some());
    tokio::time::advance(FORGET_AFTER).await;
    assert!(search.begin().careful().is_none());
    assert!(connection(&search, &messages(), nothing).1.is_none());
}

#[test]
fn ends_by_the_broker_and_by_sockets_are_none_of_the_engine() {
    let search = FatalMessageSearch::default();
    let error = AMQPError::new(AMQPHardError::CONNECTIONFORCED.into(), "forced".into());
    let by_broker = || lapin::Error::from(ErrorKind::ProtocolError(error.clone()));
    let close = [&[0, 10, 0, 50, 1, 64][..], &short(b"forced"), &[0; 4]].concat();
    connection(&search, &frame(1, 0, &close), nothing);
    search.note_end(Some(&by_broker()));
    search.note_end(Some(&std::io::Error::other("reset").into()));
    assert!(search.begin().careful().is_none());
    search.note_end(Some(&by_broker()));
    assert!(search.begin().careful().is_some(), "the engine has closed the connection");
}

#[test]
fn panic_of_the_engine_is_one_of_its_ends() {
    let search = FatalMessageSearch::default();
    let of_engine = search.clone();
    let engine = std::thread::spawn(move || {
        let _stream = FilteredStream::new(&b""[..], 0).with_search(&of_engine);
        panic!("on purpose");
    });
    assert!(engine.join().is_err());
    assert!(search.has_panicked());
    search.note_end(Some(&ErrorKind::MissingHeartbeatError.into()));
    assert!(search.begin().careful().is_some());
    assert!(!search.has_panicked());
}

#[test]
fn fingerprint_is_the_same_at_each_delivery_by_a_quorum_queue() {
    let count = |name: &[u8], n: u8| [&short(name)[..], b"l", &[0; 7], &[n]].concat();
    let entry = |text: &[u8]| [&short(b"x")[..], b"S", &long(text)].concat();
    let plain = fingerprint(&header(TYPE, &short(b"good")));
    let counted = |n| {
        let table = long(&[count(b"x-acquired-count", n), count(b"x-delivery-count", n)].concat());
        fingerprint(&header(HEADERS | TYPE, &[table, short(b"good")].concat()))
    };
    assert_eq!([counted(1), counted(2)], [plain; 2]);
    let with = |entries: &[u8]| fingerprint(&header(HEADERS, &long(entries)));
    let one = with(&entry(b"1"));
    assert_eq!(with(&[entry(b"1"), count(b"x-delivery-count", 3)].concat()), one);
    assert_eq!(with(&[count(b"x-delivery-count", 4), entry(b"1")].concat()), one);
    assert_ne!(with(&entry(b"2")), one);
    assert_ne!(plain, one);
    for cut in 0..20 {
        fingerprint(&header(HEADERS | TYPE, &long(&entry(b"1")))[..cut]);
    }
}
