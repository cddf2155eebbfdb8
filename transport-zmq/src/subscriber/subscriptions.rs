//! The subscriptions of a subscriber, and the synchronization with its publishers.
//!
//! ZeroMQ does not acknowledge subscriptions. After its subscriptions, a subscriber therefore
//! subscribes to a fresh [`SyncMarker`]. Each publisher answers on the marker. The answer proves
//! that the publisher has everything that was subscribed to before.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::{Deadline, Filter, Result};
use rustc_hash::FxHashMap;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::event_buffer::EventBuffer;
use crate::engine::Sub;
use crate::error::closed;
use crate::wire::{Channel, Frames, SyncMarker, UNIQUE};

/// The filters of a subscriber. Changes run one after the other.
pub(super) struct Subscriptions {
    socket: Arc<dyn Sub>,
    buffer: Arc<EventBuffer>,
    channel: Channel,
    /// The time that a change waits for the answers of publishers.
    connect_timeout: Duration,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    /// The filters, in no particular order. Several may share a prefix.
    filters: Vec<Filter>,
    /// The marker that the socket subscribes to, after all filters.
    marker: Option<SyncMarker>,
}

impl Subscriptions {
    /// Creates the subscriptions of a socket: none yet.
    pub(super) fn new(
        socket: Arc<dyn Sub>,
        buffer: Arc<EventBuffer>,
        channel: Channel,
        connect_timeout: Duration,
    ) -> Self {
        Self { socket, buffer, channel, connect_timeout, current: Mutex::default() }
    }

    /// Adds filters before the first publisher is connected.
    pub(super) async fn begin_with(&self, filters: Vec<Filter>) -> Result<()> {
        let mut current = self.current.lock().await;
        for filter in filters {
            self.subscribe(&mut current, filter).await?;
        }
        self.send_marker(&mut current).await.map(drop)
    }

    /// Waits until every connected publisher has all subscriptions, for the connect timeout at
    /// most.
    pub(super) async fn settle(&self) -> Result<()> {
        let give_up = Deadline::after(self.connect_timeout).instant();
        // A publisher that connects later gets all subscriptions at once.
        let _ = timeout_at(give_up, self.socket.ready()).await;
        let mut current = self.current.lock().await;
        self.synchronize(&mut current, give_up).await
    }

    /// Adds a filter, and waits until every connected publisher has it.
    pub(super) async fn add(&self, filter: Filter) -> Result<()> {
        let mut current = self.current.lock().await;
        self.subscribe(&mut current, filter).await?;
        let give_up = Deadline::after(self.connect_timeout).instant();
        self.synchronize(&mut current, give_up).await
    }

    /// Removes a filter. Events on their way may still arrive.
    pub(super) async fn remove(&self, filter: Filter) -> Result<()> {
        let mut current = self.current.lock().await;
        let Some(at) = current.filters.iter().position(|other| *other == filter) else {
            return Ok(());
        };
        current.filters.swap_remove(at);
        match current.has_prefix(&filter) {
            true => Ok(()),
            false => self.socket.unsubscribe(self.channel.prefix(&filter)).await,
        }
    }

    /// Adds a filter, without waiting for the publishers.
    async fn subscribe(&self, current: &mut Current, filter: Filter) -> Result<()> {
        if current.filters.contains(&filter) {
            return Ok(());
        }
        // Several filters may share a prefix, which is subscribed to once.
        if !current.has_prefix(&filter) {
            self.socket.subscribe(self.channel.prefix(&filter)).await?;
        }
        current.filters.push(filter);
        Ok(())
    }

    /// Sends markers until every connected publisher has answered one, or until `give_up`. An
    /// answer is lost with its connection, or if this subscriber reads too slowly.
    async fn synchronize(&self, current: &mut Current, give_up: Instant) -> Result<()> {
        let mut patience = PATIENCE_MIN;
        while Instant::now() < give_up {
            if self.socket.publisher_count().await? == 0 {
                // A publisher that connects later gets all subscriptions at once.
                return Ok(());
            }
            let marker = self.send_marker(current).await?;
            match timeout_at(give_up, timeout(patience, self.answers(&marker))).await {
                Ok(Ok(answered)) => return answered,
                Ok(Err(_)) => patience *= 2,
                Err(_) => break,
            }
        }
        tracing::warn!("a publisher did not confirm the subscriptions of a subscriber in time");
        Ok(())
    }

    /// Subscribes to a fresh marker, in place of the previous one.
    async fn send_marker(&self, current: &mut Current) -> Result<SyncMarker> {
        let marker = SyncMarker::fresh();
        self.socket.subscribe(marker.frame().clone()).await?;
        if let Some(before) = current.marker.replace(marker.clone()) {
            self.socket.unsubscribe(before.frame().clone()).await?;
        }
        Ok(marker)
    }

    /// Waits until there is an answer for each connection.
    async fn answers(&self, marker: &SyncMarker) -> Result<()> {
        let mut waiter = self.buffer.wait_for_sync();
        let mut answered = FxHashMap::<[u8; UNIQUE], usize>::default();
        while answered.values().sum::<usize>() < self.socket.publisher_count().await? {
            tokio::select! {
                answer = waiter.answer() => {
                    let (to, Frames { head, .. }) = answer.ok_or_else(closed)?;
                    let answer = SyncMarker::read_answer(&head).filter(|_| to == *marker);
                    if let Some((publisher, connections)) = answer {
                        let most = answered.entry(publisher).or_default();
                        // Bounded, so that the sum of malicious peers' numbers cannot overflow.
                        let connections = u16::try_from(connections).unwrap_or(u16::MAX);
                        *most = usize::from(connections).max(*most);
                    }
                }
                // A connection may be lost, and its answer with it.
                () = sleep_until(Instant::now() + RECOUNT) => {}
            }
        }
        Ok(())
    }
}

/// The time after which the first marker is replaced. It doubles with each marker.
const PATIENCE_MIN: Duration = Duration::from_millis(200);
/// The interval at which the number of publishers is counted again.
const RECOUNT: Duration = Duration::from_millis(50);

impl Current {
    /// Returns whether a filter has the prefix of this one, which is then subscribed to.
    fn has_prefix(&self, filter: &Filter) -> bool {
        self.filters.iter().any(|other| other.prefix() == filter.prefix())
    }
}
