//! Route to one peer of a ROUTER socket, with the interface of a socket that sends to one peer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use omq_tokio::{Socket, TrySendError};
use polywire_core::Result;
use tokio::time::sleep;

use super::frame_conversion::{message_of, unsent_frames};
use crate::endpoint::EndpointChange;
use crate::engine::{Dealer, SocketControl};
use crate::wire::Frames;

/// A sender to one inbound peer. The socket belongs to the [client
/// router](super::client_router::OmqClientRouter), which also reads the replies, reports lost
/// connections and closes the socket.
///
/// A route whose peer is gone stays usable: sends return their frames. The next set of peers lacks
/// the connection, and the balancer drops the route.
pub(super) struct RoutedPeer {
    /// The socket of the client router.
    socket: Socket,
    /// The routing id of the peer.
    identity: Bytes,
    /// Set while the last message found no room.
    ///
    /// Any sender may change the flag, which decides on the pause in `room` only.
    is_full: AtomicBool,
}

/// Pause before a full peer is tried again while other peers have room: 2 ms.
const FULL_PAUSE: Duration = Duration::from_millis(2);

impl RoutedPeer {
    /// Creates the route to the peer with this routing id.
    pub(super) fn new(socket: Socket, identity: Bytes) -> Self {
        Self { socket, identity, is_full: AtomicBool::new(false) }
    }
}

#[async_trait]
impl SocketControl for RoutedPeer {
    /// Changes nothing: the client router has the endpoints.
    async fn change(&self, _: &EndpointChange) -> Result<Option<String>> {
        Ok(None)
    }

    /// Returns a future that is ready: the client router closes the socket.
    fn close(&self) -> BoxFuture<'static, ()> {
        // The client router closes the socket.
        std::future::ready(()).boxed()
    }
}

#[async_trait]
impl Dealer for RoutedPeer {
    /// Sends a message to the peer, or returns the frames if its queue is full or it is gone. The
    /// frames are cloned for the second case, in which the engine drops the message.
    fn try_send(&self, frames: Frames) -> Result<(), Frames> {
        let sent = self.socket.try_send_to(&self.identity, message_of(frames.clone()));
        self.is_full.store(matches!(sent, Err(TrySendError::Full(_))), Ordering::Relaxed);
        match sent {
            // If the socket is closed, the balancer closes as well, and fails the call.
            Ok(()) | Err(TrySendError::Closed) => Ok(()),
            Err(TrySendError::Full(message)) => Err(unsent_frames(message)),
            // The peer is gone. The balancer removes its connection in a moment.
            Err(_) => Err(frames),
        }
    }

    /// Waits until some peer of the socket has room, and a little longer if that is not known to be
    /// this one. So a send may find no room again, and waits anew.
    fn room(&self) -> BoxFuture<'_, ()> {
        let room = async {
            // The engine reports that some peer has room, and not which one.
            self.socket.wait_send_ready().await;
            match self.is_full.load(Ordering::Relaxed) {
                // The room may well be that of another peer.
                true => sleep(FULL_PAUSE).await,
                // The room may be that of a new peer, whose connection another task adds.
                false => tokio::task::yield_now().await,
            }
        };
        room.boxed()
    }

    /// Returns at once: the peer is connected.
    async fn tried(&self) {}

    /// Never resolves: the client router reports which peers are connected.
    async fn up(&self) -> Result<()> {
        std::future::pending().await
    }

    /// Never resolves, see [`up`](Self::up).
    async fn down(&self) {
        std::future::pending::<()>().await;
    }

    /// Returns an empty stream: the client router yields the replies of all peers.
    fn replies(&self) -> BoxStream<'static, Frames> {
        stream::empty().boxed()
    }
}
