use bytes::BufMut;

use super::super::zmtp::write_command;
use super::*;

/// The bound on a message of the tests.
const MAX: usize = 1000;

/// Returns the greeting and the READY command of a peer.
fn introduction(socket_type: &[u8], identity: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::zeroed(GREETING);
    (bytes[0], bytes[9], bytes[10], bytes[11]) = (0xFF, 0x7F, 3, 1);
    bytes[12..16].copy_from_slice(b"NULL");
    write_ready(&mut bytes, socket_type, identity);
    bytes
}

fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    match u8::try_from(body.len()) {
        Ok(len) => [&[flags, len], body].concat(),
        Err(_) => [&[flags | 2], &(body.len() as u64).to_be_bytes()[..], body].concat(),
    }
}

fn command(name: &[u8], data: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    write_command(&mut bytes, name, data);
    bytes
}

/// The bytes for the crate after the handshake, and the events after it, or the broken rule.
type Passed = Result<(BytesMut, Vec<InboundEvent>), Violation>;

/// Filters bytes that follow the handshake, in pieces of this size.
fn pass(kind: SocketKind, socket_type: &[u8], bytes: &[u8], piece: usize) -> Passed {
    let mut filter = InboundFilter::new(kind, MAX);
    let (mut input, mut output, mut events) = (BytesMut::new(), BytesMut::new(), Vec::new());
    let before = introduction(socket_type, b"mine");
    for piece in [&before, bytes].concat().chunks(piece) {
        input.put_slice(piece);
        filter.feed(&mut input, &mut output, &mut events)?;
    }
    let expected = introduction(socket_type, ONLY_PEER);
    assert_eq!(output[..expected.len()], expected, "the peer gets the only routing id");
    let ready = Ready {
        socket_type: Bytes::copy_from_slice(socket_type),
        identity: Bytes::from_static(b"mine"),
    };
    let rest = events.split_off(2);
    assert_eq!(events, [InboundEvent::Greeted(1), InboundEvent::Ready(ready)]);
    Ok((output.split_off(expected.len()), rest))
}

#[test]
fn messages_pass_unchanged_however_they_are_cut() {
    let message = [frame(1, b"first"), frame(1, b""), frame(0, &[7; 300])].concat();
    let bytes =
        [message.clone(), command(b"PING", b"\x01\x02ctx").to_vec(), message.clone()].concat();
    for piece in [1, 2, 7, 63, 64, 65, 10_000] {
        let (output, events) = pass(SocketKind::Router, b"DEALER", &bytes, piece).unwrap();
        assert_eq!(output, [message.clone(), message.clone()].concat(), "in pieces of {piece}");
        // Tenths of a second.
        let ttl = Duration::from_millis(25_800);
        assert_eq!(events, [InboundEvent::Ping { ttl, context: Bytes::from_static(b"ctx") }]);
    }
}

#[test]
fn announced_length_is_checked_before_the_crate_sees_it() {
    let announced = |flags: u8, len: u64| [&[flags | 2], &len.to_be_bytes()[..]].concat();
    let many = frame(1, b"").repeat(MAX / 64 + 1);
    for bytes in [
        announced(0, 64 << 30),
        announced(1, u64::MAX),
        announced(4, 1 << 62),
        frame(0, &[0; MAX - 63]),
        many,
    ] {
        let mut filter = InboundFilter::new(SocketKind::Router, MAX);
        let mut input = introduction(b"DEALER", b"");
        let mut output = BytesMut::new();
        filter.feed(&mut input, &mut output, &mut Vec::new()).unwrap();
        output.clear();
        input.put_slice(&bytes);
        let result = filter.feed(&mut input, &mut output, &mut Vec::new());
        assert!(result.is_err(), "{:?}", &bytes[..2]);
        assert!(output.len() <= MAX, "{}", output.len());
    }
    let largest = frame(0, &[0; MAX - 64]);
    assert_eq!(pass(SocketKind::Router, b"DEALER", &largest, 64).unwrap().0, largest);
    // Before the handshake, the 73 bytes of a stranger.
    let mut input = introduction(b"DEALER", b"").split_to(GREETING);
    input.put_slice(&announced(4, 64 << 30));
    let mut filter = InboundFilter::new(SocketKind::Router, MAX);
    assert!(filter.feed(&mut input, &mut BytesMut::new(), &mut Vec::new()).is_err());
}

#[test]
fn subscriptions_become_messages_and_long_ones_are_dropped() {
    let long = vec![b'x'; FIRST_MAX + 1];
    let bytes = [
        command(b"SUBSCRIBE", b"a").to_vec(),
        command(b"SUBSCRIBE", &long).to_vec(),
        command(b"CANCEL", b"a").to_vec(),
        frame(0, b"\x01b"),
        frame(0, &[&[1], &long[..]].concat()),
        [frame(1, b"\x01c"), frame(0, b"")].concat(),
        command(b"PONG", b"").to_vec(),
        command(b"UNKNOWN", b"").to_vec(),
    ]
    .concat();
    for piece in [1, 10_000] {
        let (output, events) = pass(SocketKind::XPub, b"SUB", &bytes, piece).unwrap();
        let expected = [frame(0, b"\x01a"), frame(0, b"\0a"), frame(0, b"\x01b")].concat();
        assert_eq!(output, expected);
        assert_eq!(events, []);
    }
}

#[test]
fn messages_of_a_puller_are_dropped() {
    let (output, _) = pass(SocketKind::Push, b"PULL", &frame(0, b"noise"), 10_000).unwrap();
    assert_eq!(output, b""[..]);
}

#[test]
fn broken_rules_are_named() {
    let late = |bytes: &[u8]| pass(SocketKind::Router, b"DEALER", bytes, 10_000).unwrap_err();
    assert_eq!(late(&frame(5, b"\x04PING\0\0")), "a command has more frames");
    assert_eq!(late(&frame(0xF8, b"")), "a frame has reserved flags");
    assert_eq!(late(&frame(4, b"")), "a command has no name");
    assert_eq!(late(&command(b"PING", b"\0")), "a heartbeat is too short");
    assert_eq!(late(&command(b"PING", &[0; 19])), "a heartbeat is too long");
    let early = |bytes: &[u8]| {
        let mut filter = InboundFilter::new(SocketKind::XSub, MAX);
        let mut input = BytesMut::from(bytes);
        filter.feed(&mut input, &mut BytesMut::new(), &mut Vec::new()).unwrap_err()
    };
    assert_eq!(early(b"GET / HTTP/1.1"), "the greeting is not that of ZMTP 3");
    assert_eq!(
        early(&introduction(b"STREAM", b"")),
        "the peer is a socket of a type that does not fit"
    );
    let mut curve = introduction(b"PUB", b"");
    curve[12..17].copy_from_slice(b"CURVE");
    assert!(early(&curve).contains("security mechanism"));
    let greeting = introduction(b"PUB", b"").split_to(GREETING);
    let after = |bytes: &[u8]| early(&[&greeting, bytes].concat());
    assert_eq!(after(&command(b"ERROR", b"\x02no")), "the peer has refused the handshake");
    assert_eq!(after(&frame(0, b"event")), "a message came before the handshake");
    assert_eq!(after(&command(b"PING", b"\0\0")), "another command came before READY");
    assert_eq!(after(&command(b"READY", b"\x0BSocket-Type")), "the READY command is malformed");
}
