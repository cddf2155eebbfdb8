//! The options of the links of one socket.

use bytes::Bytes;

use super::socket_kind::SocketKind;

/// The options of a set.
pub(super) struct LinkSetOptions {
    pub(super) kind: SocketKind,
    /// The routing id that the peers see, if it is not empty.
    pub(super) identity: Bytes,
    /// Messages that arrive and are not read yet. `None` if the owner takes the messages.
    pub(super) arrivals_max: Option<usize>,
    /// Messages that each link queues.
    pub(super) capacity: usize,
}

impl LinkSetOptions {
    /// Returns the options of a socket without a routing id, with the usual queues.
    pub(super) fn of(kind: SocketKind) -> Self {
        let arrivals_max =
            (!matches!(kind, SocketKind::Push | SocketKind::XPub)).then_some(ARRIVALS_MAX);
        Self { kind, identity: Bytes::new(), arrivals_max, capacity: QUEUED_MAX }
    }
}

/// Messages that a link queues, beside those that the crate holds: 1,000.
pub(super) const QUEUED_MAX: usize = 1000;
/// Messages that arrive at a socket and are not read yet: 256.
const ARRIVALS_MAX: usize = 256;
