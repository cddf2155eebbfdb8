//! Socket traits, one for each socket type that the messaging patterns use.
//!
//! Futures on the path of a message are boxed by hand, and only when a message has to wait. All
//! others are `async fn` by `async_trait`. The exception is [`SocketControl::close`], whose future
//! must not borrow the socket.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use polywire_core::transport::Sending;
use polywire_core::{Address, Identity, Result};

use super::ByteBudget;
use crate::endpoint::{EndpointChange, RefusingPeers};
use crate::wire::{Frames, SyncMarker};

/// Endpoint changes and shutdown, common to all sockets.
///
/// A socket is open from its construction until [`close`](Self::close), whether it has endpoints or
/// not. All methods of a socket may be called at the same time from several tasks.
#[async_trait]
pub(crate) trait SocketControl: Send + Sync {
    /// Binds, unbinds, connects or disconnects an endpoint. Returns the endpoint with its real
    /// port, or `None` if nothing had to change.
    ///
    /// Unbinding and disconnecting also close the connections that were made through the endpoint.
    /// If the future is dropped, the change may or may not have been made.
    ///
    /// # Errors
    ///
    /// `Config` for an endpoint that cannot be bound, and `Closed` if the socket is closed.
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>>;

    /// Returns the number of connected peers, now and after each change, until the socket is
    /// closed. The stream is empty for an engine that does not report them. It holds the socket.
    fn peer_counts(&self) -> BoxStream<'static, usize> {
        stream::empty().boxed()
    }

    /// Returns the refusals at the endpoints that the socket connects to. None of a socket that
    /// peers connect to.
    fn refusals(&self) -> RefusingPeers {
        RefusingPeers::default()
    }

    /// Closes the socket, and sends the queued messages for up to the linger time.
    ///
    /// The future does not borrow the socket, so that a handle can be dropped while its socket
    /// lingers. Dropping the future may drop the queued messages.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// A socket that changes its endpoints and closes as the part does which holds its endpoints.
///
/// An implementation gets [`SocketControl`] by the blanket implementation below. A socket with a
/// `close` or `change` of its own implements [`SocketControl`] directly.
#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
pub(crate) trait HasEndpoints: Send + Sync {
    /// The part that holds the endpoints, one type for each engine.
    type Endpoints: SocketControl;

    /// Returns the part that holds the endpoints.
    fn endpoints(&self) -> &Self::Endpoints;
}

#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
#[async_trait]
impl<S: HasEndpoints> SocketControl for S {
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>> {
        self.endpoints().change(change).await
    }

    fn peer_counts(&self) -> BoxStream<'static, usize> {
        self.endpoints().peer_counts()
    }

    fn refusals(&self) -> RefusingPeers {
        self.endpoints().refusals()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.endpoints().close()
    }
}

/// A socket that sends requests or jobs: DEALER, PUSH, or one route of a ROUTER socket.
///
/// The socket connects to one peer, or several peers connect to it, or it is the route to one
/// [inbound peer](InboundPeer). Its owner calls [`up`](Self::up) and [`down`](Self::down) in turns,
/// from one task:
///
/// ```text
/// opened ── up ──▶ connected ── down ──▶ disconnected ── up ──▶ connected …
///    └────────────────────┴──── close ───────┴──▶ closed: up fails, streams end
/// ```
///
/// The owner sends while the socket is connected. At another time, a message is returned, or waits
/// for the next peer, or is dropped.
#[async_trait]
pub(crate) trait Dealer: SocketControl {
    /// Sends a message, or returns the frames if there is no room.
    ///
    /// A socket that is closed returns `Ok` and drops the message: its owner closes as well, and
    /// fails the call.
    fn try_send(&self, frames: Frames) -> Result<(), Frames>;

    /// Waits until there may be room for a message. Another sender may take the room first. The
    /// future may be dropped at any time.
    fn room(&self) -> BoxFuture<'_, ()>;

    /// Waits until an attempt to connect has failed. Returns at once, or never, if peers connect to
    /// the socket.
    ///
    /// After a first success, the future may stay pending until a later failure. So the owner waits
    /// for a connection at the same time, and drops this future then.
    async fn tried(&self);

    /// Waits until a peer is connected, and connects to the endpoint if the socket has one. Failed
    /// attempts are repeated without an end.
    ///
    /// After a success, the next call comes after [`down`](Self::down) has returned. Dropping the
    /// future leaves the engine connecting.
    ///
    /// # Errors
    ///
    /// `Closed` if the socket is closed.
    async fn up(&self) -> Result<()>;

    /// Returns whether the peer rejected our credentials in the last handshake. Connecting is
    /// retried every few seconds, since the peer may be reconfigured. False for engines without
    /// security.
    fn is_denied(&self) -> bool {
        false
    }

    /// Describes the latest failure to connect, if this side connects and the last attempt failed.
    fn failure(&self) -> Option<String> {
        None
    }

    /// Waits until no peer is connected, or another one than after [`up`](Self::up). Then drops the
    /// requests that are still queued. Queued jobs stay, and go to the next peer.
    async fn down(&self);

    /// Takes the reason of the last disconnect, if the engine reported one. For logs only: the text
    /// is that of the engine.
    fn reason(&self) -> Option<String> {
        None
    }

    /// Returns the messages that arrive, until the socket is closed. Called once; a second call of
    /// some implementations takes messages from the first stream.
    ///
    /// A socket for jobs returns an empty stream, as does an inbound peer, whose messages come from
    /// the [`ClientRouter`].
    fn replies(&self) -> BoxStream<'static, Frames>;
}

/// A ROUTER socket on the calling side: servers connect to it, and each has its own route.
pub(crate) trait ClientRouter: SocketControl {
    /// Returns the set of connected peers: the current one first, then one after each change, until
    /// the socket is closed. Called once.
    ///
    /// Several changes may lead to one set. A peer that reconnects has a new connection number, so
    /// its loss is never hidden.
    fn peers(&self) -> BoxStream<'static, Vec<InboundPeer>>;

    /// Returns the messages that arrive, each with the number of its connection, until the socket
    /// is closed. Called once.
    ///
    /// A message may arrive before its peer is part of [`peers`](Self::peers), and after the peer
    /// has left it.
    fn replies(&self) -> BoxStream<'static, (u64, Frames)>;
}

/// A server that has connected to a [`ClientRouter`]. The value describes the peer at one moment;
/// that the peer is gone shows in the next set of [`ClientRouter::peers`].
pub(crate) struct InboundPeer {
    /// The number of the connection, never used twice.
    pub(crate) connection: u64,
    /// The remote address, for logs and errors.
    pub(crate) name: String,
    /// The route to this peer. Its `up` and `down` never resolve, since the router reports the
    /// state of the connection.
    pub(crate) dealer: Arc<dyn Dealer>,
}

/// The kind of messages that a [`Dealer`] sends.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "engine-omq"), allow(dead_code, reason = "proxies need engine omq"))]
pub(crate) enum Traffic {
    /// Requests, which are answered: DEALER and ROUTER sockets.
    Requests,
    /// Jobs of this queue, which are not answered: PUSH sockets. Pullers of another queue are
    /// disconnected if they connect to the socket.
    Jobs(Address),
    /// Jobs of any queue: the backend of a pipeline proxy.
    AnyJobs,
}

/// A ROUTER socket on the serving side, which receives requests and sends replies.
#[async_trait]
pub(crate) trait Router: SocketControl {
    /// Sends a message to a peer. The send is complete on return if there is room, and waits for
    /// room otherwise.
    ///
    /// Dropping the returned value may drop the message. Messages to one peer keep their order as
    /// long as no two of them wait at the same time.
    ///
    /// # Errors
    ///
    /// `Unroutable` if the peer is gone, and `Closed` if the socket is closed.
    fn send(&self, peer: Bytes, frames: Frames) -> Sending<'_>;

    /// Returns the byte budget of a peer, if the socket counts bytes and some are unsent. `None`
    /// means that the peer has read everything large that was sent to it.
    fn budget(&self, _: &Bytes) -> Option<Arc<ByteBudget>> {
        None
    }

    /// Stops accepting peers where the engine can. The connected ones stay.
    async fn stop_listening(&self) {}

    /// Returns the routing ids of the connected peers.
    async fn peers(&self) -> Vec<Bytes> {
        Vec::new()
    }

    /// Returns the requests that arrive, each with its origin, until the socket is closed. Called
    /// once. Requests of one peer come in the order in which it sent them.
    fn requests(&self) -> BoxStream<'static, (RequestOrigin, Frames)>;
}

/// The peer that sent a request: the return address, and the proved identity.
#[derive(Clone)]
pub(crate) struct RequestOrigin {
    /// The routing id that replies are sent to. Chosen by the engine or by the peer, and unique
    /// among connected peers.
    pub(crate) address: Bytes,
    /// The identity that the peer has proved in its handshake: a CURVE key or a PLAIN user name.
    /// `None` without security.
    pub(crate) identity: Option<Arc<Identity>>,
}

/// A PULL socket, which receives jobs.
pub(crate) trait Pull: SocketControl {
    /// Returns the jobs that arrive, until the socket is closed or, after [`stop`](Self::stop),
    /// until all received jobs are yielded. Called once.
    ///
    /// The socket receives as many jobs ahead as its window. They are lost if the stream is
    /// dropped.
    fn jobs(&self) -> BoxStream<'static, Frames>;

    /// Disconnects all peers in a task of its own. Then [`jobs`](Self::jobs) yields what has
    /// arrived, and ends.
    fn stop(&self);
}

/// An XPUB socket, which sends events and receives subscriptions.
#[async_trait]
pub(crate) trait XPub: SocketControl {
    /// Sends a message to all peers that subscribe to its first frame. The send is complete on
    /// return if all of them have room, and waits for the slowest otherwise.
    ///
    /// A message without subscribers is dropped. Dropping the returned value may drop the message.
    ///
    /// # Errors
    ///
    /// `Closed` if the socket is closed.
    fn send(&self, first: Bytes, frames: Frames) -> Sending<'_>;

    /// Returns the sync markers that subscribers send, each with the number of connections that it
    /// came on, until the socket is closed. Called once.
    ///
    /// Events are taken from the moment of the call, so it comes before the first endpoint. A
    /// marker is yielded after all earlier subscriptions of the same subscriber are in effect.
    fn sync_markers(&self) -> BoxStream<'static, (SyncMarker, u32)>;

    /// Returns the number of subscriptions that one peer may have, if it is bounded.
    fn subscriptions_max(&self) -> Option<usize>;

    /// Waits until the subscriber at each connected endpoint has sent its subscriptions, or is
    /// known to be unreachable.
    async fn ready(&self);
}

/// A SUB socket, which sends subscriptions and receives events.
#[async_trait]
pub(crate) trait Sub: SocketControl {
    /// Subscribes to messages that begin with a prefix, at all present and future peers, in the
    /// order of the calls. Does not wait until the peers have received the subscription, see
    /// [`SyncMarker`].
    ///
    /// # Errors
    ///
    /// `Closed` if the socket is closed.
    async fn subscribe(&self, prefix: Bytes) -> Result<()>;

    /// Removes one subscription to a prefix. A prefix with two subscriptions keeps one.
    ///
    /// # Errors
    ///
    /// `Closed` if the socket is closed. A prefix without a subscription is no error.
    async fn unsubscribe(&self, prefix: Bytes) -> Result<()>;

    /// Returns the messages that arrive, each as its first frame and the other frames. Called once.
    ///
    /// The stream ends when the socket is closed or, after [`stop`](Self::stop), when all received
    /// messages are yielded.
    fn messages(&self) -> BoxStream<'static, (Bytes, Frames)>;

    /// Disconnects all peers in a task of its own. Then [`messages`](Self::messages) yields what
    /// has arrived, and ends.
    #[cfg_attr(not(feature = "engine-omq"), allow(dead_code, reason = "proxies need engine omq"))]
    fn stop(&self);

    /// Waits until each endpoint that the socket connects to has a peer, or is known to be
    /// unreachable.
    async fn ready(&self);

    /// Returns the number of connected publishers.
    ///
    /// # Errors
    ///
    /// `Closed` if the socket is closed.
    async fn publisher_count(&self) -> Result<usize>;
}
