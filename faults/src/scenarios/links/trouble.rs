//! What befalls a link.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use polywire_amqp::{Amqp, ConnectionChange, ConnectionEvents};
use polywire_conformance::{Direction, Proxy};
use tokio::time::{Instant, sleep, timeout};

use super::HEARTBEAT;
use crate::patience::within;

/// What befalls a link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    Cut,
    CutMidFrame,
    HoleToServer,
    HoleToClient,
    Delay,
}

const DELAY: Duration = Duration::from_secs(2);

impl Trouble {
    pub(super) const ALL: [Self; 5] =
        [Self::Cut, Self::CutMidFrame, Self::HoleToServer, Self::HoleToClient, Self::Delay];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::CutMidFrame => "cut-mid-frame",
            Self::HoleToServer => "hole-to-server",
            Self::HoleToClient => "hole-to-client",
            Self::Delay => "delay",
        }
    }

    /// Lets it pass. A black hole lasts until its victim has noticed; how long that took.
    pub(super) async fn pass(self, proxy: &Proxy, victim: &Amqp) -> Result<Option<Duration>> {
        let mut events = victim.events();
        connected(&mut events).await?;
        match self {
            Self::Cut => proxy.sever(),
            Self::CutMidFrame => {
                // Where messages of some size go depends on the role.
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
                // It lasts for some round trips.
                sleep(DELAY * 4).await;
                proxy.heal();
            }
        }
        Ok(None)
    }
}

async fn swallow(
    proxy: &Proxy,
    direction: Direction,
    events: &mut ConnectionEvents,
) -> Result<Duration> {
    let start = Instant::now();
    proxy.black_hole(direction);
    lost(events).await?;
    let first = start.elapsed();
    // There are two. One that was just being made again, on a busy machine, is not told of.
    let both = timeout(HEARTBEAT * 5, lost(events)).await;
    let noticed = if both.is_ok() { start.elapsed() } else { first };
    proxy.heal();
    Ok(noticed)
}

/// Waits until both connections are there.
async fn connected(events: &mut ConnectionEvents) -> Result<()> {
    within("both connections are there", async {
        let mut there = [false; 2];
        while there != [true; 2] {
            let event = events.next().await.context("the transport is there")?;
            match event.change {
                ConnectionChange::Connected { .. } | ConnectionChange::Restored { .. } => {
                    there[event.role as usize] = true
                }
                ConnectionChange::Lost(_) | ConnectionChange::Refused(_) => {
                    there[event.role as usize] = false
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
            let event = events.next().await.context("the transport is there")?;
            if matches!(event.change, ConnectionChange::Lost(_)) {
                return Ok(());
            }
        }
    })
    .await?
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
