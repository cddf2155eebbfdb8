//! Peers that speak ZeroMQ, but not the native wire.

use std::time::Duration;

use omq_tokio::{Message, Options, Socket, SocketType};
use polywire_core::ErrorKind;

use crate::support::events::{next, publisher, subscriber};
use crate::support::jobs::{bound, builder, connected};

#[tokio::test]
async fn malformed_event_is_an_error_or_dropped() {
    let peer = Socket::try_new(SocketType::XPub, Options::default()).unwrap();
    let endpoint = peer.bind("tcp://127.0.0.1:0").await.unwrap().to_string();
    let subscribing =
        builder().connect_timeout(Duration::from_secs(1)).connect(endpoint).build().unwrap();
    // The peer answers no sync marker. The subscriber opens nevertheless.
    let mut events = subscriber(&subscribing, "#").await;
    let mut marker = Vec::new();
    while let Ok(message) = peer.try_recv() {
        let said = message.part_bytes(0).unwrap();
        if said.starts_with(b"\x01\0hello") {
            marker = said[1..].to_vec();
        }
    }
    assert!(!marker.is_empty());
    let event = |first: &[u8], head: &[u8]| {
        let frames = [first, head].map(bytes::Bytes::copy_from_slice);
        Message::multipart(frames)
    };
    let envelope = |kind: u8, rest: &[u8]| [&[b'P', 1, kind], &[0; 13][..], rest].concat();
    for message in [
        event(&marker, b""),
        event(&marker, &[0xFF; 200]),
        Message::from_slice(&marker),
        event(b"weather\0a", &envelope(4, b"\x01\x01a")),
        Message::from_slice(b"weather\0a"),
        event(b"weather\0a", b""),
        event(b"weather\0", &envelope(5, b"")),
        event(b"weather\0a", &envelope(5, b"\x81\x01\x07")),
    ] {
        peer.send(message).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(next(&mut events).await.unwrap_err().kind(), ErrorKind::Codec);
    }
    assert_eq!(*next(&mut events).await.unwrap(), 7);

    // Malformed subscriptions harm no publisher.
    let publishing = bound();
    let publish = publisher(&publishing).await;
    let peer = Socket::try_new(SocketType::XSub, Options::default()).unwrap();
    peer.connect(publishing.local_endpoints()[0].as_str()).await.unwrap();
    for said in [&b"\x01"[..], b"\x01\0hello\0", b"\0\0hello\0", b"\0never"] {
        peer.send(Message::from_slice(said)).await.unwrap();
    }
    for number in 0..20_u8 {
        let marker = [b"\x01\0hello\0", &[number; 16][..]].concat();
        peer.send(Message::from_slice(&marker)).await.unwrap();
        peer.send(Message::from_slice(&[&[0], &marker[1..]].concat())).await.unwrap();
    }
    let subscribing = connected(&[&publishing]);
    let mut events = subscriber(&subscribing, "#").await;
    publish.publish("a", &1).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 1);
}
