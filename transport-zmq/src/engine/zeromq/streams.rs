//! Listeners and byte streams of endpoints: TCP and socket files.
//!
//! Paths that begin with `@` are names of abstract Unix sockets, which only Linux has.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use super::socket_kind::SocketKind;
use crate::endpoint::Endpoint;

/// A connection to a peer.
pub(super) enum PeerStream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Ipc(UnixStream),
}

/// The half of a stream that is read.
pub(super) type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
/// The half of a stream that is written to.
pub(super) type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

impl PeerStream {
    /// Connects to an endpoint.
    ///
    /// A host with several addresses is tried in their order. There is no timeout here: the caller
    /// sets one.
    ///
    /// # Errors
    ///
    /// The error of the operating system, or `Unsupported` for a socket file outside of Unix.
    pub(super) async fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp { host, port } => {
                Ok(Self::Tcp(TcpStream::connect((bare(host), *port)).await?))
            }
            #[cfg(unix)]
            Endpoint::Ipc(path) => {
                let address = path.strip_prefix('@').map(|name| format!("\0{name}"));
                Ok(Self::Ipc(UnixStream::connect(address.as_deref().unwrap_or(path)).await?))
            }
            #[cfg(not(unix))]
            Endpoint::Ipc(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Sets the options of a connection: `TCP_NODELAY`, and those that depend on the type of the
    /// socket. Socket files need no options.
    ///
    /// On Linux, the kernel ends a connection whose peer has taken no bytes for `unread_max`, while
    /// some wait for it. `None` sets no bound.
    ///
    /// A PUSH socket writes no heartbeats. The kernel probes the host of a puller instead, while no
    /// bytes wait for it, and needs the time of two heartbeats to find it dead, or of one and four
    /// seconds.
    pub(super) fn prepare(
        &self,
        kind: SocketKind,
        heartbeat: Duration,
        unread_max: Option<Duration>,
    ) {
        let Self::Tcp(stream) = self else { return };
        // An option that cannot be set costs time, and no message.
        let _ = stream.set_nodelay(true);
        let stream = socket2::SockRef::from(stream);
        #[cfg(target_os = "linux")]
        if unread_max.is_some() {
            let _ = stream.set_tcp_user_timeout(unread_max);
        }
        if kind == SocketKind::Push {
            // The kernel counts in seconds.
            let second = Duration::from_secs(1);
            let probes = socket2::TcpKeepalive::new().with_time(heartbeat.max(second));
            #[cfg(target_os = "linux")]
            let probes = probes.with_interval((heartbeat / 4).max(second)).with_retries(4);
            let _ = stream.set_tcp_keepalive(&probes);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = unread_max;
    }

    /// The address of the peer, if it has one.
    ///
    /// `None` for a socket file, and for a connection that is lost already.
    pub(super) fn peer_address(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            #[cfg(unix)]
            Self::Ipc(_) => None,
        }
    }

    /// Splits the stream. It is closed when both halves are dropped.
    pub(super) fn split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (Box::new(read), Box::new(write))
            }
            #[cfg(unix)]
            Self::Ipc(stream) => {
                let (read, write) = stream.into_split();
                (Box::new(read), Box::new(write))
            }
        }
    }
}

/// A bound endpoint.
///
/// Dropping the value closes the port. Accepted connections stay.
pub(super) enum StreamListener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Ipc(UnixListener),
}

impl StreamListener {
    /// Binds an endpoint. Returns the endpoint with its real port as well.
    ///
    /// An existing socket file is an error; [`SocketFileClaim`](crate::endpoint::SocketFileClaim)
    /// removes a stale one before.
    ///
    /// # Errors
    ///
    /// The error of the operating system, or `Unsupported` for an endpoint that this platform
    /// lacks.
    pub(super) async fn bind(endpoint: &Endpoint) -> io::Result<(Self, Endpoint)> {
        match endpoint {
            Endpoint::Tcp { host, port } => {
                let listener = TcpListener::bind((bare(host), *port)).await?;
                let port = listener.local_addr()?.port();
                Ok((Self::Tcp(listener), Endpoint::Tcp { host: host.clone(), port }))
            }
            #[cfg(unix)]
            Endpoint::Ipc(path) => Ok((Self::Ipc(bind_ipc(path)?), endpoint.clone())),
            #[cfg(not(unix))]
            Endpoint::Ipc(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Waits for the next connection.
    ///
    /// Cancel safe: a connection that is not returned stays in the backlog.
    pub(super) async fn accept(&self) -> io::Result<PeerStream> {
        match self {
            Self::Tcp(listener) => Ok(PeerStream::Tcp(listener.accept().await?.0)),
            #[cfg(unix)]
            Self::Ipc(listener) => Ok(PeerStream::Ipc(listener.accept().await?.0)),
        }
    }
}

/// Binds a socket file, or a name after `@`.
#[cfg(unix)]
fn bind_ipc(path: &str) -> io::Result<UnixListener> {
    let Some(name) = path.strip_prefix('@') else { return UnixListener::bind(path) };
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net;

        let listener = net::UnixListener::bind_addr(&net::SocketAddr::from_abstract_name(name)?)?;
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    }
    #[cfg(not(target_os = "linux"))]
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        format!("only Linux has sockets without files: {name}"),
    ))
}

/// Returns a host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Returns whether an address is one of this machine's loopback.
///
/// An IPv4 address that is mapped into IPv6 counts as the IPv4 address.
pub(super) fn is_local(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
