//! The sockets that a reply stream reads.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;

use super::peer::PeerConnection;
use crate::wire::Frames;

/// A stream of received messages: of one socket that connects or listens, or of the client router,
/// whose messages name their connection.
pub(super) enum ReplySource {
    /// The socket of one connection, which connects or listens.
    Peer(Arc<PeerConnection>, BoxStream<'static, Frames>),
    /// The socket of all inbound peers.
    Inbound(BoxStream<'static, (u64, Frames)>),
}

impl ReplySource {
    /// Returns whether the source is the socket of a peer.
    pub(super) fn is_of(&self, peer: &Arc<PeerConnection>) -> bool {
        self.peer().is_some_and(|own| Arc::ptr_eq(own, peer))
    }

    /// Returns the peer of the source. `None` for the socket of all inbound peers.
    pub(super) fn peer(&self) -> Option<&Arc<PeerConnection>> {
        match self {
            Self::Peer(peer, _) => Some(peer),
            Self::Inbound(_) => None,
        }
    }

    /// Takes a message that the engine has read together with the one before. `None` if there is
    /// none, and for the socket of all inbound peers.
    pub(super) fn take_read(&mut self, cx: &mut Context<'_>) -> Option<Frames> {
        match self {
            Self::Peer(_, messages) if messages.size_hint().0 > 0 => {
                match messages.poll_next_unpin(cx) {
                    Poll::Ready(frames) => frames,
                    Poll::Pending => None,
                }
            }
            _ => None,
        }
    }
}
