//! Envelopes of the native wire, for peers that are programs of another kind.

use omq_tokio::{Message, Socket};
use tokio::time::timeout;

use super::wait::PATIENCE;

pub(crate) const REQUEST: u8 = 1;
pub(crate) const REPLY: u8 = 2;
pub(crate) const LEAVE: u8 = 8;
pub(crate) const BATCH: u8 = 9;

/// Returns an envelope: its kind, a call id, and fields.
pub(crate) fn envelope(kind: u8, id: Option<u64>, fields: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x50, 1, kind, u8::from(id.is_some())];
    bytes.extend(id.unwrap_or(0).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(fields);
    bytes
}

/// Returns the call id of an envelope.
pub(crate) fn id_of(head: &[u8]) -> u64 {
    u64::from_be_bytes(head[4..12].try_into().unwrap())
}

/// Waits for the next message of a socket.
pub(crate) async fn received(socket: &Socket) -> Message {
    timeout(PATIENCE, socket.recv()).await.expect("a message arrives").unwrap()
}
