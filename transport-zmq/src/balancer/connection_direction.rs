//! The side that connects.

/// The side that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum PeerKind {
    /// The socket connects to its peer.
    Connecting,
    /// Any number of peers connect to the socket, which does not distinguish them.
    Listening,
    /// The peer has connected to the client router, and this is its connection number. The
    /// connection is removed when it is lost.
    Inbound(u64),
}
