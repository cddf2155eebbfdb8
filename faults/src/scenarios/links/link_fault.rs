//! Faults of a connection.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use polywire_amqp::{Amqp, ConnectionChange, ConnectionEvents};
use polywire_conformance::{Direction, FaultProxy};
use tokio::time::{Instant, sleep, timeout};

use crate::wait::within;

/// The heartbeat interval of both sides; each gives up after twice the time.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(2);

/// A fault of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LinkFault {
    /// The connection is closed.
    Cut,
    /// The connection is closed within a frame, in both directions.
    ///
    /// Chunks of less than 64 bytes pass whole, so a heartbeat does not trigger the cut.
    CutMidFrame,
    /// Bytes to the broker vanish.
    HoleToServer,
    /// Bytes from the broker vanish.
    HoleToClient,
    /// Bytes arrive two seconds late.
    ///
    /// Chunks are delayed one after the other, so the last one of many is later.
    Delay,
}

/// Delay of each chunk of bytes. The fault lasts four times as long.
const DELAY: Duration = Duration::from_secs(2);

impl LinkFault {
    /// All faults.
    pub(super) const ALL: [Self; 5] =
        [Self::Cut, Self::CutMidFrame, Self::HoleToServer, Self::HoleToClient, Self::Delay];

    /// Returns the name in reports and in addresses.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::CutMidFrame => "cut-mid-frame",
            Self::HoleToServer => "hole-to-server",
            Self::HoleToClient => "hole-to-client",
            Self::Delay => "delay",
        }
    }

    /// Injects the fault, and waits until it has passed. A black hole lasts until the victim has
    /// noticed; returns the time that took.
    ///
    /// Both connections of the victim are up before the fault begins. A cut passes at once: the
    /// proxy accepts new connections immediately.
    pub(super) async fn inject(
        self,
        proxy: &FaultProxy,
        victim: &Amqp,
    ) -> Result<Option<Duration>> {
        let mut events = victim.events();
        connected(&mut events).await?;
        match self {
            Self::Cut => proxy.sever(),
            Self::CutMidFrame => {
                // The direction of large messages depends on the handle.
                proxy.cut_mid_frame(Direction::ToServer);
                proxy.cut_mid_frame(Direction::ToClient);
                lost(&mut events).await?;
                proxy.heal();
            }
            Self::HoleToServer => {
                return swallow(proxy, Direction::ToServer, &mut events).await.map(Some);
            }
            Self::HoleToClient => {
                return swallow(proxy, Direction::ToClient, &mut events).await.map(Some);
            }
            Self::Delay => {
                proxy.delay(DELAY);
                // The delay lasts for several round trips.
                sleep(DELAY * 4).await;
                proxy.heal();
            }
        }
        Ok(None)
    }
}

/// Discards the bytes of one direction until the victim has noticed, and returns the time from the
/// beginning.
///
/// The time ends with the loss of the second connection. If no such event comes within 10 seconds,
/// the time ends with the first. In the end, the proxy closes the connections that lost bytes.
async fn swallow(
    proxy: &FaultProxy,
    direction: Direction,
    events: &mut ConnectionEvents,
) -> Result<Duration> {
    let start = Instant::now();
    proxy.black_hole(direction);
    lost(events).await?;
    let first = start.elapsed();
    // A transport has two connections. On a busy machine, the second may be reconnecting: then no
    // event follows.
    let both = timeout(HEARTBEAT * 5, lost(events)).await;
    let noticed = if both.is_ok() { start.elapsed() } else { first };
    proxy.heal();
    Ok(noticed)
}

/// Waits until both connections are established.
///
/// The stream begins with their present states, so a transport that is connected passes at once.
/// Only a transport with two connections is allowed here.
async fn connected(events: &mut ConnectionEvents) -> Result<()> {
    within("both connections are established", async {
        let mut connected = [false; 2];
        while connected != [true; 2] {
            let event = events.next().await.context("the transport is closed")?;
            match event.change {
                ConnectionChange::Connected { .. } | ConnectionChange::Restored { .. } => {
                    connected[event.role as usize] = true;
                }
                ConnectionChange::Lost(_) | ConnectionChange::Refused(_) => {
                    connected[event.role as usize] = false;
                }
                _ => {}
            }
        }
        Ok(())
    })
    .await?
}

/// Waits until one of the two connections is lost.
async fn lost(events: &mut ConnectionEvents) -> Result<()> {
    within("a connection is lost", async {
        loop {
            let event = events.next().await.context("the transport is closed")?;
            if matches!(event.change, ConnectionChange::Lost(_)) {
                return Ok(());
            }
        }
    })
    .await?
}

impl fmt::Display for LinkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
