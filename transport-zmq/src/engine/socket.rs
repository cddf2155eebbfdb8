//! Socket traits, one for each socket type that the messaging patterns use.
//!
//! Futures on the path of a message are boxed by hand, and only when a message has to wait. All
//! others are `async fn` by `async_trait`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use polywire_core::transport::Sending;
use polywire_core::{Address, Identity, Result};

use super::ByteBudget;
use crate::endpoint::EndpointChange;
use crate::wire::{Frames, SyncMarker};

/// Endpoint changes and shutdown, common to all sockets.
#[async_trait]
pub(crate) trait SocketControl: Send + Sync {
    /// Binds, unbinds, connects or disconnects. Returns the endpoint with its real port, or `None`
    /// if nothing had to change.
    ///
    /// If the future is dropped, the change may or may not have been made.
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>>;

    /// Closes the socket, and sends the queued messages for up to the linger time. A future of its
    /// own, because it outlives the handle that closes.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// A socket that sends requests or jobs.
///
/// It connects to one peer, or several peers connect to it, or it is the route to one
/// [inbound peer](InboundPeer).
#[async_trait]
pub(crate) trait Dealer: SocketControl {
    /// Sends a message, or returns the frames if there is no room.
    fn try_send(&self, frames: Frames) -> Result<(), Frames>;

    /// Waits until there may be room for a message. The future may be dropped at any time.
    fn room(&self) -> BoxFuture<'_, ()>;

    /// Waits until the first attempt to connect has succeeded or failed.
    async fn tried(&self);

    /// Waits until a peer is connected, and connects to the endpoint if the socket has one.
    ///
    /// After a success, the next call comes after [`down`](Self::down) has returned.
    ///
    /// # Errors
    ///
    /// `Closed` if the socket is closed.
    async fn up(&self) -> Result<()>;

    /// Returns whether the peer rejected our credentials in the last handshake. Connecting is
    /// retried every few seconds.
    fn is_denied(&self) -> bool {
        false
    }

    /// Waits until no peer is connected, then drops the requests that are still queued.
    async fn down(&self);

    /// Takes the reason of the last disconnect, if the engine reported one.
    fn reason(&self) -> Option<String> {
        None
    }

    /// Returns the messages that arrive, until the socket is closed. Called once. A socket for jobs
    /// returns an empty stream.
    fn replies(&self) -> BoxStream<'static, Frames>;
}

/// A ROUTER socket on the calling side: servers connect to it, and each has its own route.
pub(crate) trait ClientRouter: SocketControl {
    /// Returns the set of connected peers: the current one first, then one after each change, until
    /// the socket is closed. Called once.
    fn peers(&self) -> BoxStream<'static, Vec<InboundPeer>>;

    /// Returns the messages that arrive, each with the number of its connection, until the socket
    /// is closed. Called once.
    fn replies(&self) -> BoxStream<'static, (u64, Frames)>;
}

/// A server that has connected to a [`ClientRouter`].
pub(crate) struct InboundPeer {
    /// The number of the connection, never used twice.
    pub(crate) connection: u64,
    /// The remote address, for logs and errors.
    pub(crate) name: String,
    /// The route to this peer.
    pub(crate) dealer: Arc<dyn Dealer>,
}

/// The kind of messages that a [`Dealer`] sends.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "engine-omq"), allow(dead_code, reason = "engine `zeromq` sends no jobs"))]
pub(crate) enum Traffic {
    /// Requests, which are answered.
    Requests,
    /// Jobs of this queue, which are not answered.
    Jobs(Address),
    /// Jobs of any queue.
    AnyJobs,
}

/// A ROUTER socket on the serving side.
pub(crate) trait Router: SocketControl {
    /// Sends a message to a peer, at once if there is room. Fails as `Unroutable` if the peer is
    /// gone.
    fn send(&self, peer: Bytes, frames: Frames) -> Sending<'_>;

    /// Returns the byte budget of a peer, if the socket counts bytes and some are unsent.
    fn budget(&self, _: &Bytes) -> Option<Arc<ByteBudget>> {
        None
    }

    /// Returns the requests that arrive, until the socket is closed. Called once.
    fn requests(&self) -> BoxStream<'static, (RequestOrigin, Frames)>;
}

/// The peer that sent a request.
pub(crate) struct RequestOrigin {
    /// The routing id that replies are sent to.
    pub(crate) address: Bytes,
    /// The identity that the peer has proved, if any.
    pub(crate) identity: Option<Arc<Identity>>,
}

/// A PULL socket.
pub(crate) trait Pull: SocketControl {
    /// Returns the jobs that arrive, until the socket is closed or, after [`stop`](Self::stop),
    /// until all received jobs are yielded. Called once.
    fn jobs(&self) -> BoxStream<'static, Frames>;

    /// Stops receiving, in a task of its own.
    fn stop(&self);
}

/// An XPUB socket.
#[async_trait]
pub(crate) trait XPub: SocketControl {
    /// Sends a message to all peers that subscribe to its first frame, at once if all of them have
    /// room.
    fn send(&self, first: Bytes, frames: Frames) -> Sending<'_>;

    /// Returns the sync markers that subscribers send, each with the number of connections that it
    /// came on, until the socket is closed. Called once.
    ///
    /// A marker is yielded after all earlier subscriptions of the same subscriber are in effect.
    fn sync_markers(&self) -> BoxStream<'static, (SyncMarker, u32)>;

    /// Waits until the subscriber at each connected endpoint has sent its subscriptions, or is
    /// known to be unreachable.
    async fn ready(&self);
}

/// A SUB socket.
#[async_trait]
pub(crate) trait Sub: SocketControl {
    /// Subscribes to messages that begin with a prefix, at all present and future peers, in the
    /// order of the calls.
    async fn subscribe(&self, prefix: Bytes) -> Result<()>;

    /// Removes one subscription to a prefix. A prefix with two subscriptions keeps one.
    async fn unsubscribe(&self, prefix: Bytes) -> Result<()>;

    /// Returns the messages that arrive, each as its first frame and the other frames, until the
    /// socket is closed or, after [`stop`](Self::stop), until all received messages are yielded.
    /// Called once.
    fn messages(&self) -> BoxStream<'static, (Bytes, Frames)>;

    /// Stops receiving, in a task of its own.
    #[cfg_attr(
        not(feature = "engine-omq"),
        allow(dead_code, reason = "only proxies stop a socket without closing it")
    )]
    fn stop(&self);

    /// Waits until each endpoint that the socket connects to has a peer, or is known to be
    /// unreachable.
    async fn ready(&self);

    /// Returns the number of connected publishers.
    async fn publisher_count(&self) -> Result<usize>;
}
