//! Entry points for fuzzers. Built for fuzzing only.

use bytes::Bytes;
use polywire_core::{Address, Body, Limits};

use crate::wire::{self, Channel, Frames, SyncMarker};

/// Decodes an envelope. A valid one is encoded again, and must decode to the same message.
///
/// The first byte of the input splits the rest into an envelope and a body of frames of 7 bytes.
/// With 255, all of the rest is the envelope.
///
/// # Panics
///
/// If the second message differs from the first one, which the fuzzer reports.
#[allow(clippy::panic, reason = "a fuzzer detects panics")]
pub fn envelope(bytes: &[u8]) {
    // The first byte is the position at which a body after the envelope begins.
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
    // The deadline is not compared, since its time passes.
    let Ok(again) = wire::encode(&role, message.clone(), &limits) else { return };
    let Ok((role_again, read)) = wire::decode(again, &limits) else {
        panic!("{message:?} does not decode again")
    };
    assert_eq!(role, role_again);
    assert_eq!(
        (message.id, &message.method, &message.content_type),
        (read.id, &read.method, &read.content_type)
    );
    assert_eq!((&message.headers, &message.fault), (&read.headers, &read.fault));
    assert_eq!(message.body.into_bytes(), read.body.into_bytes());
}

/// Reads the first frame of an event, as a sync marker and as a topic of the channel `a`.
///
/// # Panics
///
/// If the frame of what was read differs from the input.
#[allow(clippy::panic, clippy::unwrap_used, reason = "a fuzzer detects panics")]
pub fn first_frame(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(bytes);
    if let Some(marker) = SyncMarker::read(&frame) {
        assert_eq!(marker.frame(), &frame);
    }
    let _ = SyncMarker::read_answer(&frame);
    let channel = Channel::new(&Address::new("a").unwrap());
    if let Some(Ok(topic)) = channel.topic(&frame) {
        assert_eq!(channel.frame(&topic), frame);
    }
}

/// Filters the bytes of a peer, as the engine `zeromq` does.
#[cfg(feature = "engine-zeromq")]
pub fn inbound_filter(bytes: &[u8]) {
    crate::engine::fuzz_inbound_filter(bytes);
}

/// Parses a URL. URLs that name files are skipped, so that the fuzzer reads none.
pub fn url(text: &str) {
    if !text.contains("file:") {
        let _ = crate::url::parse(text).and_then(crate::ZmqBuilder::build);
    }
}
