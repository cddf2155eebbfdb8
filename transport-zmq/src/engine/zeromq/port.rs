//! A socket of the crate with one peer: the relay of its link.
//!
//! The crate takes no byte stream, only listeners and endpoints. So each link has a listener of its
//! own on this machine, to which its socket connects once.
//!
//! The inner connection is a socket of this process. On Linux it is a Unix socket under an abstract
//! name, elsewhere a TCP connection on loopback.

use std::io;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use zeromq::util::PeerIdentity;
use zeromq::{
    DealerSocket, PullSocket, PushSocket, RouterSocket, Socket, SocketEvent, SocketOptions,
    SocketRecv, SocketSend, XPubSocket, XSubSocket, ZmqMessage, ZmqResult,
};

use super::inbound_filter::ONLY_PEER;
use super::kind::Kind;

/// A socket of the crate.
///
/// Owned by the task of its link. One type for each way in which the sockets of the crate differ.
#[async_trait]
pub(super) trait Port: Send {
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
pub(super) type PortEvents = BoxStream<'static, SocketEvent>;

/// Opens a socket that has no peer yet. `identity` is the routing id that its peer sees.
///
/// An identity that the crate does not accept is left out. No I/O happens before [`Port::connect`].
pub(super) fn open(kind: Kind, identity: &[u8]) -> (Box<dyn Port>, PortEvents) {
    let mut options = SocketOptions::default();
    // An empty one is none.
    if let (false, Ok(identity)) = (identity.is_empty(), PeerIdentity::try_from(identity)) {
        options.peer_identity(identity);
    }
    match kind {
        Kind::Dealer => boxed(DealerSocket::with_options(options), Both),
        Kind::Router => boxed(RouterSocket::with_options(options), Routed),
        Kind::Push => boxed(PushSocket::with_options(options), Sending),
        Kind::Pull => boxed(PullSocket::with_options(options), Receiving),
        Kind::XPub => boxed(XPubSocket::with_options(options), Both),
        Kind::XSub => boxed(XSubSocket::with_options(options), Both),
    }
}

fn boxed<S: Socket, P: Port + 'static>(
    mut socket: S,
    port: fn(Closing<S>) -> P,
) -> (Box<dyn Port>, PortEvents) {
    let events = socket.monitor().boxed();
    (Box::new(port(Closing(socket))), events)
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
struct Sending(Closing<PushSocket>);
/// A PULL socket.
///
/// Sending succeeds and drops the message. Nothing calls it: a puller queues none.
struct Receiving(Closing<PullSocket>);

#[async_trait]
impl<S: Socket + SocketSend + SocketRecv> Port for Both<S> {
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
impl Port for Routed {
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
impl Port for Sending {
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
impl Port for Receiving {
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

/// The listener of one link, to which its socket connects.
pub(super) struct InnerListener {
    #[cfg(target_os = "linux")]
    listener: tokio::net::UnixListener,
    #[cfg(not(target_os = "linux"))]
    listener: tokio::net::TcpListener,
    /// The endpoint in the notation of the crate.
    endpoint: String,
}

/// The relay's end of the inner connection.
#[cfg(target_os = "linux")]
pub(super) type InnerStream = tokio::net::UnixStream;
/// The relay's end of the inner connection.
#[cfg(not(target_os = "linux"))]
pub(super) type InnerStream = tokio::net::TcpStream;

impl InnerListener {
    /// Listens at a name that no other listener has.
    #[cfg(target_os = "linux")]
    pub(super) async fn bind() -> io::Result<Self> {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixListener};

        // A name without a file: nothing is left behind, and no folder has to be writable.
        let name = format!("polywire-{:032x}", u128::from_be_bytes(crate::wire::unique()));
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        Ok(Self { listener, endpoint: format!("ipc://\0{name}") })
    }

    /// Listens at a free port of loopback.
    #[cfg(not(target_os = "linux"))]
    pub(super) async fn bind() -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let endpoint = format!("tcp://{}", listener.local_addr()?);
        Ok(Self { listener, endpoint })
    }

    /// The endpoint, as the crate reads it.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Waits for the socket of this process. A connection of another process is closed.
    ///
    /// Outside of Linux the process at the other end is not known, and the first connection is
    /// taken. The listener is dropped after the handshake.
    pub(super) async fn accept(&self) -> io::Result<InnerStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            #[cfg(target_os = "linux")]
            if stream.peer_cred()?.pid() != i32::try_from(std::process::id()).ok() {
                continue;
            }
            return Ok(stream);
        }
    }
}
