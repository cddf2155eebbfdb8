//! A connection through a proxy: a socket on each side, and a pump for each direction.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::sleep;

use super::rules::{PendingCuts, ProxyRules};
use crate::hook::Direction;

/// A connection from a client to the target.
pub(super) struct Connection {
    /// The socket that the proxy has accepted.
    pub(super) client: TcpStream,
    /// The socket that the proxy has opened to its target.
    pub(super) server: TcpStream,
    /// The number of [severings](ProxyRules::severed) before the connection began.
    pub(super) severed: u64,
    pub(super) rules: watch::Receiver<ProxyRules>,
    /// Shared by all connections: a cut is made by the first one with a message.
    pub(super) cuts: Arc<PendingCuts>,
}

/// The most bytes that are forwarded in one chunk.
const CHUNK_MAX: usize = 16 << 10;

impl Connection {
    /// Forwards until both sides have ended or the connection is cut. Both sockets close then.
    ///
    /// One task runs both directions. Dropping the future closes both sockets.
    pub(super) async fn run(mut self) {
        // Nagle's algorithm would add a delay of our own. An error shows in the pumps.
        let _ = self.client.set_nodelay(true).and(self.server.set_nodelay(true));
        let (from_client, to_client) = self.client.split();
        let (from_server, to_server) = self.server.split();
        let pump = |direction, from, to| {
            let (rules, cuts) = (self.rules.clone(), self.cuts.as_ref());
            Pump { direction, severed: self.severed, rules, cuts, gap: false, from, to }
        };
        let there = pump(Direction::ToServer, from_client, to_server);
        let back = pump(Direction::ToClient, from_server, to_client);
        let mut rules = self.rules.clone();
        tokio::select! {
            // An error of one direction ends both, as it does without a proxy.
            _ = async { tokio::try_join!(there.run(), back.run()) } => {}
            _ = rules.wait_for(|rules| rules.severed != self.severed) => {}
        }
    }
}

/// One direction of a connection.
///
/// Bytes are never reordered: a chunk is forwarded, or discarded, before the next one is read.
struct Pump<'a> {
    direction: Direction,
    severed: u64,
    rules: watch::Receiver<ProxyRules>,
    cuts: &'a PendingCuts,
    /// True once bytes were discarded, so that the rest of the stream is useless.
    gap: bool,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
}

impl Pump<'_> {
    /// Forwards until the end of the stream, which is passed on. A cut is an error.
    ///
    /// A black hole discards chunks as they are read, so the sender never blocks. The end of the
    /// stream waits until the direction is healed.
    async fn run(mut self) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_MAX];
        loop {
            let size = self.read(&mut chunk).await?;
            if self.rules.borrow().severed != self.severed {
                // Checked here as well, so that nothing is forwarded after the cut was requested.
                return Err(cut());
            }
            if self.rules.borrow().swallows(self.direction) {
                self.gap |= size > 0;
                if size == 0 {
                    self.healed().await?;
                }
                continue;
            }
            if size == 0 {
                return self.to.shutdown().await;
            }
            self.forward(&chunk[..size]).await?;
        }
    }

    /// Reads the next chunk. After healing, a stream with a gap ends with an error instead.
    ///
    /// Dropping the future loses no byte: a read that was not completed took none.
    async fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let gap = self.gap;
        let direction = self.direction;
        tokio::select! {
            biased;
            _ = self.rules.wait_for(|rules| gap && !rules.swallows(direction)) => Err(cut()),
            size = self.from.read(chunk) => size,
        }
    }

    /// Waits until this direction is forwarded again.
    async fn healed(&mut self) -> io::Result<()> {
        let direction = self.direction;
        let healed = self.rules.wait_for(|rules| !rules.swallows(direction)).await;
        healed.map(drop).map_err(|_| cut())
    }

    /// Forwards a chunk after its delay, or half of it if a cut was requested.
    ///
    /// The delay is that of the moment at which the chunk was read. A sever during the delay ends
    /// the connection without the chunk.
    async fn forward(&mut self, chunk: &[u8]) -> io::Result<()> {
        let delay = self.rules.borrow().delay_of(chunk.len());
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if self.cuts.take(self.direction, chunk.len()) {
            self.to.write_all(&chunk[..chunk.len() / 2]).await?;
            return Err(cut());
        }
        self.to.write_all(chunk).await
    }
}

/// The error of a connection that was cut.
fn cut() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}
