//! A socket of the crate with one peer: the relay of its link.

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use zeromq::util::PeerIdentity;
use zeromq::{
    DealerSocket, PullSocket, PushSocket, RouterSocket, Socket, SocketEvent, SocketOptions,
    SocketRecv, SocketSend, XPubSocket, XSubSocket, ZmqMessage, ZmqResult,
};

use super::inbound_filter::ONLY_PEER;
use super::socket_kind::SocketKind;

/// A socket of the crate.
///
/// Owned by the task of its link. One type for each way in which the sockets of the crate differ.
#[async_trait]
pub(super) trait OnePeerSocket: Send {
    /// Connects to the relay, and finishes the handshake.
    ///
    /// Called once. Resolves when the crate has the READY command of the peer, which the relay
    /// passes on.
    async fn connect(&mut self, endpoint: &str) -> ZmqResult<()>;

    /// Sends a message. Dropping the future may lose it.
    async fn send(&mut self, message: ZmqMessage) -> ZmqResult<()>;

    /// Receives a message. An error is the end of the connection. The future may be dropped.
    async fn recv(&mut self) -> ZmqResult<ZmqMessage>;
}

/// The monitor events of a socket.
pub(super) type OnePeerSocketEvents = BoxStream<'static, SocketEvent>;

/// Opens a socket that has no peer yet. `identity` is the routing id that its peer sees.
///
/// An identity that the crate does not accept is left out. No I/O happens before
/// [`OnePeerSocket::connect`].
pub(super) fn open(
    kind: SocketKind,
    identity: &[u8],
) -> (Box<dyn OnePeerSocket>, OnePeerSocketEvents) {
    let mut options = SocketOptions::default();
    // An empty one is none.
    if let (false, Ok(identity)) = (identity.is_empty(), PeerIdentity::try_from(identity)) {
        options.peer_identity(identity);
    }
    match kind {
        SocketKind::Dealer => boxed(DealerSocket::with_options(options), Both),
        SocketKind::Router => boxed(RouterSocket::with_options(options), Routed),
        SocketKind::Push => boxed(PushSocket::with_options(options), PushPort),
        SocketKind::Pull => boxed(PullSocket::with_options(options), PullPort),
        SocketKind::XPub => boxed(XPubSocket::with_options(options), Both),
        SocketKind::XSub => boxed(XSubSocket::with_options(options), Both),
    }
}

fn boxed<S: Socket, P: OnePeerSocket + 'static>(
    mut socket: S,
    wrap: fn(Closing<S>) -> P,
) -> (Box<dyn OnePeerSocket>, OnePeerSocketEvents) {
    let events = socket.monitor().boxed();
    (Box::new(wrap(Closing(socket))), events)
}

/// A socket that closes its connection when it is dropped. Of the crate's own, XPUB and PULL keep
/// theirs: the waker of the connection holds the queue, which holds the connection.
struct Closing<S: Socket>(S);

impl<S: Socket> Drop for Closing<S> {
    fn drop(&mut self) {
        let backend = self.0.backend();
        if let Ok(peer) = PeerIdentity::try_from(ONLY_PEER) {
            backend.peer_disconnected(&peer);
        }
        backend.shutdown();
    }
}

/// A socket that sends and receives.
struct Both<S: Socket>(Closing<S>);
/// A ROUTER socket, whose only peer has a fixed routing id.
struct Routed(Closing<RouterSocket>);
/// A PUSH socket.
///
/// Receiving never resolves.
struct PushPort(Closing<PushSocket>);
/// A PULL socket.
///
/// Sending succeeds and drops the message. Nothing calls it: a puller queues none.
struct PullPort(Closing<PullSocket>);

#[async_trait]
impl<S: Socket + SocketSend + SocketRecv> OnePeerSocket for Both<S> {
    async fn connect(&mut self, endpoint: &str) -> ZmqResult<()> {
        self.0.0.connect(endpoint).await
    }

    async fn send(&mut self, message: ZmqMessage) -> ZmqResult<()> {
        self.0.0.send(message).await
    }

    async fn recv(&mut self) -> ZmqResult<ZmqMessage> {
        self.0.0.recv().await
    }
}

#[async_trait]
impl OnePeerSocket for Routed {
    async fn connect(&mut self, endpoint: &str) -> ZmqResult<()> {
        self.0.0.connect(endpoint).await
    }

    async fn send(&mut self, mut message: ZmqMessage) -> ZmqResult<()> {
        message.push_front(ONLY_PEER.into());
        self.0.0.send(message).await
    }

    async fn recv(&mut self) -> ZmqResult<ZmqMessage> {
        // The first frame is the routing id.
        Ok(self.0.0.recv().await?.split_off(1))
    }
}

#[async_trait]
impl OnePeerSocket for PushPort {
    async fn connect(&mut self, endpoint: &str) -> ZmqResult<()> {
        self.0.0.connect(endpoint).await
    }

    async fn send(&mut self, message: ZmqMessage) -> ZmqResult<()> {
        self.0.0.send(message).await
    }

    async fn recv(&mut self) -> ZmqResult<ZmqMessage> {
        std::future::pending().await
    }
}

#[async_trait]
impl OnePeerSocket for PullPort {
    async fn connect(&mut self, endpoint: &str) -> ZmqResult<()> {
        self.0.0.connect(endpoint).await
    }

    async fn send(&mut self, _: ZmqMessage) -> ZmqResult<()> {
        Ok(())
    }

    async fn recv(&mut self) -> ZmqResult<ZmqMessage> {
        self.0.0.recv().await
    }
}
