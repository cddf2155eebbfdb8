//! One connection through a proxy: a socket at each side, and a pump each way.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::sleep;

use super::rules::{Cuts, Rules};
use crate::Direction;

pub(super) struct Connection {
    pub(super) client: TcpStream,
    pub(super) server: TcpStream,
    /// How often everything had been cut when it began.
    pub(super) severed: u64,
    pub(super) rules: watch::Receiver<Rules>,
    pub(super) cuts: Arc<Cuts>,
}

/// The most that is passed on in one piece.
const PIECE_MAX: usize = 16 << 10;

impl Connection {
    /// Passes on what arrives until both sides have ended, or it is cut. Both sockets close then.
    pub(super) async fn run(mut self) {
        // A delay that is not ordered would be one of ours; an error shows in the pumps.
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
            // An error of one way is the end of both, as it is without a proxy.
            _ = async { tokio::try_join!(there.run(), back.run()) } => {}
            _ = rules.wait_for(|rules| rules.severed != self.severed) => {}
        }
    }
}

/// One way of a connection.
struct Pump<'a> {
    direction: Direction,
    severed: u64,
    rules: watch::Receiver<Rules>,
    cuts: &'a Cuts,
    /// Whether something has vanished, so that nothing that comes later makes sense.
    gap: bool,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
}

impl Pump<'_> {
    async fn run(mut self) -> io::Result<()> {
        let mut piece = vec![0; PIECE_MAX];
        loop {
            let size = self.read(&mut piece).await?;
            if self.rules.borrow().severed != self.severed {
                // Looked at here as well, so that nothing passes after the cut was ordered.
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
            self.pass_on(&piece[..size]).await?;
        }
    }

    /// Reads the next piece. Nobody waits for the rest of a stream with a hole in it once it is
    /// healed.
    async fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let gap = self.gap;
        let direction = self.direction;
        tokio::select! {
            biased;
            _ = self.rules.wait_for(|rules| gap && !rules.swallows(direction)) => Err(cut()),
            size = self.from.read(piece) => size,
        }
    }

    /// Waits until nothing vanishes any more.
    async fn healed(&mut self) -> io::Result<()> {
        let direction = self.direction;
        let healed = self.rules.wait_for(|rules| !rules.swallows(direction)).await;
        healed.map(drop).map_err(|_| cut())
    }

    async fn pass_on(&mut self, piece: &[u8]) -> io::Result<()> {
        let hold_up = self.rules.borrow().hold_up(piece.len());
        if !hold_up.is_zero() {
            sleep(hold_up).await;
        }
        if self.cuts.strike(self.direction, piece.len()) {
            self.to.write_all(&piece[..piece.len() / 2]).await?;
            return Err(cut());
        }
        self.to.write_all(piece).await
    }
}

fn cut() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}
