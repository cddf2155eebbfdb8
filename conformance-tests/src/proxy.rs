//! A TCP proxy that disturbs the connections through it.

mod connection;
mod rules;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use self::connection::Connection;
use self::rules::{PendingCuts, ProxyRules};
use crate::hook::Direction;

/// A TCP proxy in this process that disturbs connections on demand: it delays, discards, cuts and
/// refuses.
///
/// The proxy listens on a free port of the loopback interface and forwards to a target. A
/// disturbance applies to existing and to new connections, until [`heal`](Self::heal). Dropping
/// the proxy closes its port and all connections.
///
/// ```
/// # use polywire_conformance::FaultProxy;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tokio::net::{TcpListener, TcpStream};
///
/// # #[tokio::main]
/// # async fn main() -> std::io::Result<()> {
/// let target = TcpListener::bind("127.0.0.1:0").await?;
/// let proxy = FaultProxy::start(target.local_addr()?.to_string()).await?;
///
/// let mut client = TcpStream::connect(proxy.address()).await?;
/// let (mut server, _) = target.accept().await?;
/// client.write_all(b"hello").await?;
/// assert_eq!(server.read(&mut [0; 9]).await?, 5);
///
/// proxy.sever();
/// assert_eq!(client.read(&mut [0; 9]).await?, 0);
/// # Ok(())
/// # }
/// ```
pub struct FaultProxy {
    address: SocketAddr,
    rules: watch::Sender<ProxyRules>,
    cuts: Arc<PendingCuts>,
    accepting: AbortHandle,
}

/// The most connections at a time. Others wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;

impl FaultProxy {
    /// Starts a proxy for `target`, a host and a port. The proxy dials it once per connection.
    ///
    /// # Errors
    ///
    /// An error of the system, if no port is free.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn start(target: impl Into<String>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (rules, cuts) =
            (watch::Sender::new(ProxyRules::default()), Arc::<PendingCuts>::default());
        let accepting = accept(listener, target.into(), rules.subscribe(), cuts.clone());
        Ok(Self { address, rules, cuts, accepting: tokio::spawn(accepting).abort_handle() })
    }

    /// The address that the proxy listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Delays each chunk by this long before it is forwarded. Chunks of up to 16 KiB are delayed
    /// one after the other.
    pub fn delay(&self, delay: Duration) {
        self.rules.send_modify(|rules| rules.delay = delay);
    }

    /// Forwards no more than this many bytes per second, in each direction of each connection. The
    /// least is 1.
    pub fn throttle(&self, bytes_per_second: u32) {
        self.rules.send_modify(|rules| rules.bytes_per_second = Some(bytes_per_second.max(1)));
    }

    /// Discards all bytes of this direction, its end of stream included, and keeps connections
    /// open.
    pub fn black_hole(&self, direction: Direction) {
        self.rules.send_modify(|rules| rules.holes[direction as usize] = true);
    }

    /// Closes new connections at once, or accepts them again.
    pub fn refuse(&self, refuse: bool) {
        self.rules.send_modify(|rules| rules.refuse = refuse);
    }

    /// Closes all connections. New connections work.
    pub fn sever(&self) {
        self.rules.send_modify(|rules| rules.severed += 1);
    }

    /// Forwards half of the next chunk of this direction, then closes its connection.
    ///
    /// Chunks of less than 64 bytes are forwarded whole, so that the cut hits a message and not a
    /// heartbeat.
    pub fn cut_mid_frame(&self, direction: Direction) {
        self.cuts.order(direction);
    }

    /// Ends all disturbances. Connections that lost bytes are closed, since no network delivers a
    /// stream with a gap.
    pub fn heal(&self) {
        self.cuts.cancel();
        self.rules.send_modify(|rules| {
            *rules = ProxyRules { severed: rules.severed, ..ProxyRules::default() }
        });
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultProxy({})", self.address)
    }
}

/// Accepts connections. Dropping the future ends the tasks of all of them.
async fn accept(
    listener: TcpListener,
    target: String,
    rules: watch::Receiver<ProxyRules>,
    cuts: Arc<PendingCuts>,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => accepted,
            _ = connections.join_next(), if !connections.is_empty() => continue,
        };
        // An error concerns a client that is gone again.
        let Ok((client, _)) = accepted else { continue };
        let severed = rules.borrow().severed;
        if !rules.borrow().refuse {
            connections.spawn(connect(
                client,
                target.clone(),
                severed,
                rules.clone(),
                cuts.clone(),
            ));
        }
    }
}

/// Connects a client to the target, and forwards until one of them ends.
async fn connect(
    client: TcpStream,
    target: String,
    severed: u64,
    rules: watch::Receiver<ProxyRules>,
    cuts: Arc<PendingCuts>,
) {
    // A target that is away appears to the client as a peer that closes the connection.
    let Ok(server) = TcpStream::connect(target).await else { return };
    Connection { client, server, severed, rules, cuts }.run().await;
}
