//! What fuzzers feed with noise. Built for them only.

use bytes::Bytes;
use polywire_core::{Address, Body, Limits};

use crate::wire::{self, Channel, Frames, SyncMarker};

/// Reads an envelope; one that can be read is written again, and has to be read as the same.
#[allow(clippy::panic, reason = "that is how a fuzzer is told")]
pub fn envelope(bytes: &[u8]) {
    // The first byte says where a body after the envelope begins.
    let Some((cut, rest)) = bytes.split_first() else { return };
    let at = rest.len().min(usize::from(*cut));
    let (head, body) = match cut {
        0xFF => (rest, None),
        _ => {
            (&rest[..at], Some(Body::from_frames(rest[at..].chunks(7).map(Bytes::copy_from_slice))))
        }
    };
    let frames = Frames { head: Bytes::copy_from_slice(head), body };
    let limits = Limits::default();
    let Ok((role, message)) = wire::decode(frames, &limits) else { return };
    // Not each kind has every field, and a deadline runs.
    let Ok(again) = wire::encode(&role, message.clone(), &limits) else { return };
    let Ok((role_again, read)) = wire::decode(again, &limits) else {
        panic!("{message:?} cannot be read again")
    };
    assert_eq!(role, role_again);
    assert_eq!(
        (message.id, &message.method, &message.content_type),
        (read.id, &read.method, &read.content_type)
    );
    assert_eq!((&message.headers, &message.fault), (&read.headers, &read.fault));
    assert_eq!(message.body.into_bytes(), read.body.into_bytes());
}

/// Reads the first frame of what is published.
#[allow(clippy::panic, clippy::unwrap_used, reason = "that is how a fuzzer is told")]
pub fn first_frame(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(bytes);
    if let Some(hello) = SyncMarker::read(&frame) {
        assert_eq!(hello.frame(), &frame);
    }
    let _ = SyncMarker::read_answer(&frame);
    let channel = Channel::new(&Address::new("a").unwrap());
    if let Some(Ok(topic)) = channel.topic(&frame) {
        assert_eq!(channel.frame(&topic), frame);
    }
}

/// Reads a URL. Files that it names are looked for, so it is kept from naming any.
pub fn url(text: &str) {
    if !text.contains("file:") {
        let _ = crate::url::parse(text).and_then(crate::ZmqBuilder::build);
    }
}
