//! Conversion between frames and messages of the engine, and the refusal of endpoint changes.

use polywire_core::{Body, Error};
use zeromq::ZmqMessage;

use crate::endpoint::EndpointChange;
use crate::engine::error::unsupported;
use crate::wire::Frames;

/// Converts frames to a message.
pub(super) fn message_of(Frames { head, body }: Frames) -> ZmqMessage {
    let mut message = ZmqMessage::from(head);
    for frame in body.iter().flat_map(Body::frames) {
        message.push_back(frame.clone());
    }
    message
}

/// Converts a message to frames.
pub(super) fn frames_of(message: ZmqMessage) -> Frames {
    let mut frames = message.into_vecdeque().into_iter();
    let head = frames.next().unwrap_or_default();
    Frames { head, body: (frames.len() > 0).then(|| Body::from_frames(frames)) }
}

/// An endpoint change of an open socket: the engine splits sockets into halves, and those cannot
/// bind or connect.
pub(super) fn cannot_change(change: &EndpointChange) -> Error {
    unsupported("cannot change endpoints: this engine opens a socket with fixed endpoints")
        .with("endpoint", &change.endpoint)
}
