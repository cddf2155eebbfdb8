//! Peers that speak ZeroMQ, but not the native wire.

use std::time::Duration;

use bytes::Bytes;
use omq_tokio::{Message, Options, Socket, SocketType};
use polywire_core::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::events::{next, publisher, subscriber};
use crate::support::jobs::{bound, builder, connected};
use crate::support::wait::PATIENCE;

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
        let frames = [first, head].map(Bytes::copy_from_slice);
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

#[tokio::test]
async fn empty_frame_of_a_peer_does_not_end_the_answers_to_sync_markers() {
    let publishing = bound();
    let publish = publisher(&publishing).await;
    let endpoint = publishing.local_endpoints()[0].clone();
    let mut peer = TcpStream::connect(endpoint.trim_start_matches("tcp://")).await.unwrap();
    peer.write_all(&introduction()).await.unwrap();
    // An empty message, one that begins with an empty frame, and a subscription to everything.
    peer.write_all(b"\0\0\x01\0\0\x01a\0\x01\x01").await.unwrap();
    // Its event proves that the publisher has read the frames before the subscription.
    let mut read = Vec::new();
    while !read.windows(7).any(|bytes| bytes == b"weather") {
        publish.publish("a", &1).await.unwrap();
        let _ = timeout(Duration::from_millis(20), peer.read_buf(&mut read)).await;
    }
    let patient = builder().connect_timeout(2 * PATIENCE).connect(endpoint).build().unwrap();
    timeout(PATIENCE, subscriber(&patient, "#")).await.expect("the sync marker is answered");
}

/// Returns the greeting and the READY command of a SUB socket: ZMTP 3.0 without security.
fn introduction() -> Vec<u8> {
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xFF, 0x7F, 3);
    greeting[12..16].copy_from_slice(b"NULL");
    let ready = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB";
    [&greeting[..], ready].concat()
}
