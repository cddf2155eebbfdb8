use bytes::BufMut;

use super::super::zmtp::write_ready;
use super::*;

/// The bytes of the crate before its first message.
fn introduction() -> BytesMut {
    let mut bytes = BytesMut::zeroed(GREETING);
    write_ready(&mut bytes, b"DEALER", b"");
    bytes
}

const MESSAGE: &[u8] = b"\x01\x01a\0\x02bc";

#[test]
fn messages_are_counted_and_commands_come_between_them() {
    let mut ping = BytesMut::new();
    write_command(&mut ping, b"PING", b"\0\0");
    let bytes = [&introduction(), MESSAGE, MESSAGE].concat();
    for cut in 0..bytes.len() {
        let mut filter = OutboundFilter::new(SocketKind::Dealer);
        let (mut input, mut output) = (BytesMut::from(&bytes[..cut]), BytesMut::new());
        let mut commands = BytesMut::new();
        let mut ended = filter.feed(&mut input, &mut output, &mut commands, 1).len();
        let was_between = filter.is_between_messages();
        commands.put_slice(&ping);
        ended += filter.feed(&mut input, &mut output, &mut commands, 1).len();
        assert_eq!(commands.is_empty(), was_between, "cut at {cut}");
        input.put_slice(&bytes[cut..]);
        ended += filter.feed(&mut input, &mut output, &mut commands, 1).len();
        assert_eq!(ended, 2, "cut at {cut}");
        assert!(commands.is_empty() && input.is_empty());
        assert_eq!(output[MINOR_AT], 1);
        output[MINOR_AT] = 0;
        let possible = [
            [&introduction(), &ping, MESSAGE, MESSAGE].concat(),
            [&introduction(), MESSAGE, &ping, MESSAGE].concat(),
            [&introduction(), MESSAGE, MESSAGE, &ping].concat(),
        ];
        assert!(possible.iter().any(|bytes| output == bytes[..]), "cut at {cut}: {output:?}");
    }
}

#[test]
fn end_of_a_message_is_that_of_its_last_frame() {
    let mut filter = OutboundFilter::new(SocketKind::Push);
    let mut output = BytesMut::new();
    filter.feed(&mut introduction(), &mut output, &mut BytesMut::new(), 1);
    output.clear();
    let mut input = BytesMut::from(&[MESSAGE, MESSAGE].concat()[..]);
    let ends = filter.feed(&mut input, &mut output, &mut BytesMut::new(), 1);
    assert_eq!(ends, [MESSAGE.len(), 2 * MESSAGE.len()]);
}

#[test]
fn subscriptions_become_commands_for_peers_that_know_them() {
    let [mut subscribe, mut cancel] = [(); 2].map(|()| BytesMut::new());
    write_command(&mut subscribe, b"SUBSCRIBE", b"a");
    write_command(&mut cancel, b"CANCEL", b"a");
    let messages = b"\0\x02\x01a\0\x02\0a";
    for (minor, expected) in [(0, messages.to_vec()), (1, [subscribe, cancel].concat())] {
        let mut filter = OutboundFilter::new(SocketKind::XSub);
        let mut output = BytesMut::new();
        filter.feed(&mut introduction(), &mut output, &mut BytesMut::new(), minor);
        output.clear();
        let mut input = BytesMut::new();
        for byte in messages {
            input.put_u8(*byte);
            filter.feed(&mut input, &mut output, &mut BytesMut::new(), minor);
        }
        assert_eq!(output, expected, "version 3.{minor}");
    }
}
