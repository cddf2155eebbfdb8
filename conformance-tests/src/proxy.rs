//! A bad network between two sockets.

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
use self::rules::{Cuts, Rules};
use crate::Direction;

/// A TCP proxy in this process that misbehaves when it is told to: it delays, loses, cuts, and
/// hangs up.
///
/// It listens at a free port of the loopback and passes on to a target what arrives. What it is
/// told holds for the connections that exist and for those that come, until [`heal`](Self::heal).
/// Dropping it closes everything.
///
/// ```
/// # use polywire_conformance::Proxy;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tokio::net::{TcpListener, TcpStream};
///
/// # #[tokio::main]
/// # async fn main() -> std::io::Result<()> {
/// let target = TcpListener::bind("127.0.0.1:0").await?;
/// let proxy = Proxy::start(target.local_addr()?.to_string()).await?;
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
pub struct Proxy {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    cuts: Arc<Cuts>,
    accepting: AbortHandle,
}

/// Connections at a time; one more waits to be accepted.
const CONNECTIONS_MAX: usize = 1024;

impl Proxy {
    /// Listens at a free port of the loopback, for `target`: a host and a port, which is dialled
    /// for each connection.
    ///
    /// # Errors
    ///
    /// If there is no port to listen at.
    pub async fn start(target: impl Into<String>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (rules, cuts) = (watch::Sender::new(Rules::default()), Arc::<Cuts>::default());
        let accepting = accept(listener, target.into(), rules.subscribe(), cuts.clone());
        Ok(Self { address, rules, cuts, accepting: tokio::spawn(accepting).abort_handle() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds up each piece of what arrives for this long before it is passed on, one after the
    /// other.
    pub fn delay(&self, delay: Duration) {
        self.rules.send_modify(|rules| rules.delay = delay);
    }

    /// Passes on no more than this many bytes a second, in each direction of each connection.
    pub fn throttle(&self, bytes_per_second: u32) {
        self.rules.send_modify(|rules| rules.bytes_per_second = Some(bytes_per_second.max(1)));
    }

    /// Lets vanish what goes in this direction, its end included, and keeps connections open.
    pub fn black_hole(&self, direction: Direction) {
        self.rules.send_modify(|rules| rules.holes[direction as usize] = true);
    }

    /// Hangs up at once on whoever connects, or does so no longer.
    pub fn refuse(&self, refuse: bool) {
        self.rules.send_modify(|rules| rules.refuse = refuse);
    }

    /// Closes all connections. New ones work.
    pub fn sever(&self) {
        self.rules.send_modify(|rules| rules.severed += 1);
    }

    /// Passes on half of the next piece that goes in this direction, then closes its connection.
    ///
    /// Pieces of less than 64 bytes go by, so that it is a message that is cut, and not a
    /// heartbeat.
    pub fn cut_mid_frame(&self, direction: Direction) {
        self.cuts.order(direction);
    }

    /// Passes on everything again. Connections from which bytes have vanished are closed, since no
    /// network delivers a stream with a hole in it.
    pub fn heal(&self) {
        self.cuts.cancel();
        self.rules
            .send_modify(|rules| *rules = Rules { severed: rules.severed, ..Rules::default() });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.address)
    }
}

/// Takes connections in. The tasks of all of them end with it.
async fn accept(
    listener: TcpListener,
    target: String,
    rules: watch::Receiver<Rules>,
    cuts: Arc<Cuts>,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => accepted,
            _ = connections.join_next(), if !connections.is_empty() => continue,
        };
        // An error concerns one who is gone again.
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

async fn connect(
    client: TcpStream,
    target: String,
    severed: u64,
    rules: watch::Receiver<Rules>,
    cuts: Arc<Cuts>,
) {
    // A target that is away shows to the client as a peer that hangs up.
    let Ok(server) = TcpStream::connect(target).await else { return };
    Connection { client, server, severed, rules, cuts }.run().await;
}
