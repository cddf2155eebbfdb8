//! The synchronization of a subscriber with its publishers.
//!
//! ZeroMQ does not acknowledge subscriptions. After its subscriptions, a subscriber therefore
//! subscribes to a fresh [`SyncMarker`]. Each publisher answers on the marker. The answer proves
//! that the publisher has everything that was subscribed to before, and has the number of
//! subscriptions that the publisher accepts.
//!
//! Filters that are added at the same time share a marker: the first one sends it, and the others
//! wait for the next.

use std::sync::atomic::Ordering;
use std::time::Duration;

use polywire_core::Result;
use rustc_hash::FxHashMap;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{Current, Subscriptions};
use crate::common_errors::closed;
use crate::wire::{SyncMarker, UNIQUE};

impl Subscriptions {
    /// Sends markers until every connected publisher has answered one, or until `give_up`. Returns
    /// the number of the last addition before the marker. An answer is lost with its connection, or
    /// if this subscriber reads too slowly. Called with `synced` locked.
    pub(super) async fn synchronize(&self, give_up: Instant) -> Result<u64> {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        let mut patience = PATIENCE_MIN;
        while Instant::now() < give_up {
            let (marker, additions) = {
                let mut current = self.current.lock().await;
                if self.socket.publisher_count().await? == 0 {
                    // A publisher that connects later gets all subscriptions at once.
                    self.accepted.forget_publishers();
                    return Ok(current.additions);
                }
                (self.send_marker(&mut current).await?, current.additions)
            };
            match timeout_at(give_up, timeout(patience, self.answers(&marker))).await {
                Ok(Ok(answered)) => return answered.map(|()| additions),
                Ok(Err(_)) => patience *= 2,
                Err(_) => break,
            }
        }
        if let Some(count) = self.unanswered.note() {
            tracing::warn!(
                count,
                "a publisher did not confirm the subscriptions of a subscriber in time"
            );
        }
        Ok(self.current.lock().await.additions)
    }

    /// Subscribes to a fresh marker, in place of the previous one.
    pub(super) async fn send_marker(&self, current: &mut Current) -> Result<SyncMarker> {
        let marker = SyncMarker::fresh();
        self.socket.subscribe(marker.frame().clone()).await?;
        if let Some(before) = current.marker.replace(marker.clone()) {
            self.socket.unsubscribe(before.frame().clone()).await?;
        }
        Ok(marker)
    }

    /// Waits until there is an answer for each connection, and records the smallest bound that
    /// they state. Each bound holds at once, also one in a late answer to an earlier marker: the
    /// publisher may not answer again.
    pub(super) async fn answers(&self, marker: &SyncMarker) -> Result<()> {
        let mut waiter = self.buffer.wait_for_sync();
        let mut answered = FxHashMap::<[u8; UNIQUE], usize>::default();
        let mut accepted_max = None;
        while answered.values().sum::<usize>() < self.socket.publisher_count().await? {
            tokio::select! {
                answer = waiter.answer() => {
                    let (to, frames) = answer.ok_or_else(closed)?;
                    let max_of_publisher = SyncMarker::read_accepted_max(&frames).unwrap_or(usize::MAX);
                    self.accepted.lower(max_of_publisher);
                    let answer = SyncMarker::read_answer(&frames.head).filter(|_| to == *marker);
                    if let Some((publisher, connections)) = answer {
                        let most = answered.entry(publisher).or_default();
                        // Bounded, so that the sum of malicious peers' numbers cannot overflow.
                        let connections = u16::try_from(connections).unwrap_or(u16::MAX);
                        *most = usize::from(connections).max(*most);
                        accepted_max = Some(accepted_max.map_or(max_of_publisher, |max| max_of_publisher.min(max)));
                    }
                }
                // A connection may be lost, and its answer with it.
                () = sleep_until(Instant::now() + RECOUNT) => {}
            }
        }
        if let Some(max) = accepted_max {
            self.accepted.set(max);
        }
        Ok(())
    }
}

/// The time after which the first marker is replaced. It doubles with each marker.
const PATIENCE_MIN: Duration = Duration::from_millis(200);

/// The interval at which the number of publishers is counted again.
const RECOUNT: Duration = Duration::from_millis(50);
