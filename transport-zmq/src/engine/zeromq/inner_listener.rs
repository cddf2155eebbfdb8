//! The listener of one link, for the socket of the crate.
//!
//! The crate takes no byte stream, only listeners and endpoints. So each link has a listener of its
//! own on this machine, to which its socket connects once.
//!
//! The inner connection is a socket of this process. On Linux it is a Unix socket under an abstract
//! name, elsewhere a TCP connection on loopback.

use std::io;

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
