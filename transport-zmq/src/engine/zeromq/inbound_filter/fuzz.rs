//! Entry point for fuzzers. Built for fuzzing only.
//!
//! The rules that the fuzzer checks: pieces make no difference, no message beyond the bound passes,
//! and no command passes.

use bytes::BufMut;

use super::super::zmtp::Header;
use super::*;

/// The bound on a message.
const MAX: usize = 1000;
/// The most bytes that stay in the input: a READY command, or another command, with its header.
const WAITING_MAX: usize = READY_MAX as usize + 9;

/// The output, the events, and the broken rule.
type Outcome = (BytesMut, Vec<InboundEvent>, Option<Violation>);

/// Filters the bytes of a peer in pieces, and at once. Both must have the same outcome, whose
/// messages are within the bound.
pub(crate) fn inbound_filter(bytes: &[u8]) {
    let [choice, piece, rest @ ..] = bytes else { return };
    let (kind, socket_type): (_, &[u8]) = match choice % 6 {
        0 => (SocketKind::Dealer, b"ROUTER"),
        1 => (SocketKind::Router, b"DEALER"),
        2 => (SocketKind::Push, b"PULL"),
        3 => (SocketKind::Pull, b"PUSH"),
        4 => (SocketKind::XPub, b"SUB"),
        _ => (SocketKind::XSub, b"PUB"),
    };
    let mut bytes = BytesMut::new();
    // Half of the inputs begin behind the handshake.
    let is_greeted = choice & 128 == 0;
    if is_greeted {
        bytes.put_slice(&[0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 3, 1]);
        bytes.put_slice(b"NULL");
        bytes.resize(GREETING, 0);
        write_ready(&mut bytes, socket_type, b"peer");
    }
    bytes.put_slice(rest);
    let in_pieces = filter(kind, &bytes, usize::from(*piece).max(1));
    let (output, events, broken) = filter(kind, &bytes, usize::MAX);
    assert_eq!(in_pieces, (output.clone(), events, broken));
    // A subscription may be a byte longer as a message, and the identity is replaced.
    assert!(output.len() <= bytes.len() * 2);
    if is_greeted {
        let mut before = BytesMut::new();
        write_ready(&mut before, socket_type, ONLY_PEER);
        check_bounds(&output[GREETING + before.len()..]);
    }
}

/// Filters bytes in pieces of this size.
fn filter(kind: SocketKind, bytes: &[u8], piece: usize) -> Outcome {
    let mut filter = InboundFilter::new(kind, MAX);
    let (mut input, mut output, mut events) = (BytesMut::new(), BytesMut::new(), Vec::new());
    for piece in bytes.chunks(piece.min(bytes.len()).max(1)) {
        input.put_slice(piece);
        if let Err(broken) = filter.feed(&mut input, &mut output, &mut events) {
            return (output, events, Some(broken));
        }
        assert!(input.len() <= WAITING_MAX, "{} bytes wait", input.len());
    }
    (output, events, None)
}

/// Checks the messages that the crate gets. The last one may be cut off.
fn check_bounds(mut output: &[u8]) {
    let mut size = 0;
    while let Some(header) = Header::read(output) {
        assert!(!header.is_command(), "a command has passed");
        size += header.len + PART_COST;
        assert!(size <= MAX as u64, "a message of {size} bytes has passed");
        if !header.has_more() {
            size = 0;
        }
        let end = header.size as u64 + header.len;
        let Some(rest) = usize::try_from(end).ok().and_then(|end| output.get(end..)) else {
            return;
        };
        output = rest;
    }
}
