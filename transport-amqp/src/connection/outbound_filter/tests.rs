//! Tests of the verdicts, on whole writes and on each division of the bytes.

use super::*;

/// Returns a frame with this payload.
fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let head = Head { kind, channel, size: payload.len(), total: 0 };
    head.frame(payload)
}

fn method(channel: u16, class: u16, method: u16) -> Vec<u8> {
    let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), b"arguments"].concat();
    frame(METHOD_FRAME, channel, &payload)
}

/// Returns the frames of a message.
fn publish(channel: u16) -> Vec<u8> {
    let [header, body] = [(HEADER_FRAME, "properties"), (BODY_FRAME, "body")]
        .map(|(kind, payload)| frame(kind, channel, payload.as_bytes()));
    [method(channel, BASIC, PUBLISH), header, body].concat()
}

/// Returns what passes, if `limit` bytes at most are written at a time, and each write has two
/// parts that are divided at `cut`.
fn passed(bytes: &[u8], limit: usize, cut: usize) -> Vec<u8> {
    let (mut filter, mut written, mut rest) = (OutboundFilter::default(), Vec::new(), bytes);
    while !rest.is_empty() {
        let (first, second) = rest.split_at(cut.min(rest.len()));
        let parts = [IoSlice::new(first), IoSlice::new(second)];
        let run = filter.next_run(&parts);
        let count = if run.is_dropped { run.count } else { run.count.min(limit) };
        assert!(count > 0, "each run has bytes");
        if !run.is_dropped {
            written.extend(&rest[..count]);
        }
        filter.advance(&parts, count);
        rest = &rest[count..];
    }
    assert!(!filter.is_off);
    written
}

#[test]
fn frames_of_closed_channels_are_dropped_until_the_channel_is_used_again() {
    let select = method(2, 85, 10);
    // Each part of the stream, and whether it passes.
    let stream = [
        (b"AMQP\0\0\x09\x01".to_vec(), true),
        (publish(1), true),
        (method(2, CHANNEL, CLOSE_OK), true),
        (publish(2), false),
        (publish(1), true),
        (method(2, BASIC, ACK), false),
        (method(2, 50, 10), false),
        (frame(HEARTBEAT_FRAME, 0, b""), true),
        (method(2, CHANNEL, OPEN), true),
        // These were meant for the channel before.
        (publish(2), false),
        (method(2, BASIC, NACK), false),
        (select, true),
        (publish(2), true),
        (method(2, BASIC, ACK), true),
        (method(1, CHANNEL, CLOSE), true),
        (publish(1), false),
        (method(1, CHANNEL, CLOSE_OK), true),
        (method(1, CHANNEL, OPEN), true),
        (method(1, BASIC, 10), true),
        (publish(1), true),
    ];
    let all = stream.iter().flat_map(|(bytes, _)| bytes).copied().collect::<Vec<_>>();
    let passing = stream.iter().filter(|(_, passes)| *passes).flat_map(|(bytes, _)| bytes);
    let expected = passing.copied().collect::<Vec<_>>();
    for limit in [1, 2, 7, 30, usize::MAX] {
        for cut in 0..40 {
            assert_eq!(passed(&all, limit, cut), expected, "{limit} bytes, divided at {cut}");
        }
    }
}

#[test]
fn open_channels_are_written_in_one_run() {
    let all = [publish(1), publish(2), method(1, BASIC, ACK), publish(1)].concat();
    let run = OutboundFilter::default().next_run(&[IoSlice::new(&all)]);
    assert_eq!(run, Run { count: all.len(), is_dropped: false });
}

#[test]
fn bytes_that_are_no_frames_pass() {
    let mut filter = OutboundFilter::default();
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\x01\0", &method(1, CHANNEL, CLOSE), &publish(1)] {
        let parts = [IoSlice::new(bytes)];
        let run = filter.next_run(&parts);
        assert_eq!(run, Run { count: bytes.len(), is_dropped: false });
        filter.advance(&parts, run.count);
    }
}
