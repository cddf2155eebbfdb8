//! The subscriptions of a subscriber, and the synchronization with its publishers.
//!
//! ZeroMQ does not acknowledge subscriptions. After its subscriptions, a subscriber therefore
//! subscribes to a fresh [`SyncMarker`]. Each publisher answers on the marker. The answer proves
//! that the publisher has everything that was subscribed to before, and tells the number of
//! subscriptions that the publisher accepts.
//!
//! Filters that are added at the same time share a marker: the first one sends it, and the others
//! wait for the next.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use polywire_core::transport::LogThrottle;
use polywire_core::{Deadline, Error, ErrorKind, Filter, Result};
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::event_buffer::EventBuffer;
use crate::engine::Sub;
use crate::error::closed;
use crate::wire::{Channel, Frames, SyncMarker, UNIQUE};

/// The filters of a subscriber.
///
/// Where both locks are held, `synced` is locked before `current`. Both may be held across awaits.
pub(super) struct Subscriptions {
    socket: Arc<dyn Sub>,
    buffer: Arc<EventBuffer>,
    channel: Channel,
    /// The time that a change waits for the answers of publishers.
    connect_timeout: Duration,
    current: Mutex<Current>,
    /// The number of the last addition that all publishers have. Locked while a marker waits for
    /// its answers.
    synced: Mutex<u64>,
    /// The subscriptions that every publisher accepts, as the last answers tell.
    accepted_max: AtomicUsize,
    /// Throttle for log lines of publishers that accept fewer.
    refusals: LogThrottle,
    /// Throttle for log lines of publishers that do not answer.
    unanswered: LogThrottle,
}

/// Subscriptions of a subscriber that no publisher has told its bound: 1,000. A publisher with a
/// smaller bound tolerates them, and tells it.
const UNTOLD_MAX: usize = 1000;

/// The subscriptions that the socket has, in step with the engine.
#[derive(Default)]
struct Current {
    filters: FxHashSet<Filter>,
    /// The subscribed prefixes, with the number of filters that have each.
    prefixes: FxHashMap<Bytes, usize>,
    /// The marker that the socket subscribes to, after all filters.
    marker: Option<SyncMarker>,
    /// The number of additions so far.
    additions: u64,
}

impl Subscriptions {
    /// Creates the subscriptions of a socket: none yet.
    pub(super) fn new(
        socket: Arc<dyn Sub>,
        buffer: Arc<EventBuffer>,
        channel: Channel,
        connect_timeout: Duration,
    ) -> Self {
        Self {
            socket,
            buffer,
            channel,
            connect_timeout,
            current: Mutex::default(),
            synced: Mutex::default(),
            accepted_max: AtomicUsize::new(UNTOLD_MAX),
            refusals: LogThrottle::new(),
            unanswered: LogThrottle::new(),
        }
    }

    /// Adds filters before the first publisher is connected. Returns those beyond the bound of
    /// 1,000, which can be added when a publisher has told that it accepts more.
    pub(super) async fn begin_with(&self, filters: Vec<Filter>) -> Result<Vec<Filter>> {
        let mut current = self.current.lock().await;
        let mut filters = filters.into_iter();
        for filter in filters.by_ref().take(UNTOLD_MAX) {
            self.subscribe(&mut current, filter).await?;
        }
        self.send_marker(&mut current).await?;
        Ok(filters.collect())
    }

    /// Waits until every connected publisher has all subscriptions, for the connect timeout at
    /// most.
    ///
    /// # Errors
    ///
    /// `Overloaded` if a publisher accepts fewer subscriptions.
    pub(super) async fn settle(&self) -> Result<()> {
        let give_up = Deadline::after(self.connect_timeout).instant();
        // A publisher that connects later gets all subscriptions at once.
        let _ = timeout_at(give_up, self.socket.ready()).await;
        // Locked before the first marker. A canary may hold the lock for longer than the timeout.
        if let Ok(mut synced) = timeout_at(give_up, self.synced.lock()).await {
            *synced = self.synchronize(give_up).await?;
        }
        let (held, max) = (self.current.lock().await.prefixes.len(), self.accepted_max());
        if held > max { Err(refused(max)) } else { Ok(()) }
    }

    /// Adds a filter, and waits until every connected publisher has it. If the future is dropped,
    /// the filter may be added or not.
    ///
    /// Publishers that do not answer within the connect timeout are not waited for. A filter that
    /// is present is not added twice.
    ///
    /// # Errors
    ///
    /// `Overloaded` if a publisher does not accept one more subscription.
    pub(super) async fn add(&self, filter: Filter) -> Result<()> {
        let addition = {
            let mut current = self.current.lock().await;
            self.subscribe(&mut current, filter.clone()).await?;
            current.additions
        };
        let mut synced = self.synced.lock().await;
        if *synced < addition {
            *synced = self.synchronize(Deadline::after(self.connect_timeout).instant()).await?;
        }
        drop(synced);
        // The answers may have told a smaller bound.
        let mut current = self.current.lock().await;
        let max = self.accepted_max();
        if current.prefixes.len() > max && current.filters.contains(&filter) {
            self.unsubscribe(&mut current, &filter).await?;
            return Err(refused(max));
        }
        Ok(())
    }

    /// Sends a marker, and waits until every connected publisher has answered it. If the future is
    /// dropped, late answers are ignored.
    ///
    /// The wait has no bound: the caller sets one. Additions wait meanwhile.
    ///
    /// # Errors
    ///
    /// `Unroutable` if no publisher is connected, and `Closed` if the socket is closed.
    pub(super) async fn probe(&self) -> Result<()> {
        let _synced = self.synced.lock().await;
        let marker = {
            let mut current = self.current.lock().await;
            if self.socket.publisher_count().await? == 0 {
                let text = "cannot send the canary: no publisher is connected";
                return Err(Error::new(ErrorKind::Unroutable, text));
            }
            self.send_marker(&mut current).await?
        };
        self.answers(&marker).await
    }

    /// Removes a filter. Events on their way may still arrive.
    ///
    /// A filter that is not present is no error.
    pub(super) async fn remove(&self, filter: Filter) -> Result<()> {
        self.unsubscribe(&mut *self.current.lock().await, &filter).await
    }

    /// Notes the answer of a publisher that has connected meanwhile. Logs if it accepts fewer
    /// subscriptions than the others.
    pub(super) fn note_answer(&self, frames: &Frames) {
        let Some(max) = SyncMarker::read_accepted_max(frames) else { return };
        let before = self.accepted_max.fetch_min(max, Ordering::Relaxed);
        let held = self.current.try_lock().map_or(0, |current| current.prefixes.len());
        if max < before
            && held > max
            && let Some(count) = self.refusals.note()
        {
            tracing::warn!(
                held,
                subscriptions_max = max,
                count,
                "a publisher accepts fewer filters"
            );
        }
    }

    fn accepted_max(&self) -> usize {
        self.accepted_max.load(Ordering::Relaxed)
    }

    /// Adds a filter, without waiting for the publishers.
    async fn subscribe(&self, current: &mut Current, filter: Filter) -> Result<()> {
        if current.filters.contains(&filter) {
            return Ok(());
        }
        let prefix = self.channel.prefix(&filter);
        // Several filters may share a prefix, which is subscribed to once.
        if !current.prefixes.contains_key(&prefix) {
            let max = self.accepted_max();
            if current.prefixes.len() >= max {
                return Err(refused(max));
            }
            self.socket.subscribe(prefix.clone()).await?;
        }
        *current.prefixes.entry(prefix).or_default() += 1;
        current.filters.insert(filter);
        current.additions += 1;
        Ok(())
    }

    /// Removes a filter, and its prefix with the last one that has it.
    async fn unsubscribe(&self, current: &mut Current, filter: &Filter) -> Result<()> {
        if !current.filters.remove(filter) {
            return Ok(());
        }
        let prefix = self.channel.prefix(filter);
        let Some(filters) = current.prefixes.get_mut(&prefix) else { return Ok(()) };
        *filters -= 1;
        if *filters > 0 {
            return Ok(());
        }
        current.prefixes.remove(&prefix);
        self.socket.unsubscribe(prefix).await
    }

    /// Sends markers until every connected publisher has answered one, or until `give_up`. Returns
    /// the number of the last addition before the marker. An answer is lost with its connection, or
    /// if this subscriber reads too slowly.
    async fn synchronize(&self, give_up: Instant) -> Result<u64> {
        let mut patience = PATIENCE_MIN;
        while Instant::now() < give_up {
            let (marker, additions) = {
                let mut current = self.current.lock().await;
                if self.socket.publisher_count().await? == 0 {
                    // A publisher that connects later gets all subscriptions at once.
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
    async fn send_marker(&self, current: &mut Current) -> Result<SyncMarker> {
        let marker = SyncMarker::fresh();
        self.socket.subscribe(marker.frame().clone()).await?;
        if let Some(before) = current.marker.replace(marker.clone()) {
            self.socket.unsubscribe(before.frame().clone()).await?;
        }
        Ok(marker)
    }

    /// Waits until there is an answer for each connection, and records the smallest bound that
    /// they tell.
    async fn answers(&self, marker: &SyncMarker) -> Result<()> {
        let mut waiter = self.buffer.wait_for_sync();
        let mut answered = FxHashMap::<[u8; UNIQUE], usize>::default();
        let mut accepted_max = None;
        while answered.values().sum::<usize>() < self.socket.publisher_count().await? {
            tokio::select! {
                answer = waiter.answer() => {
                    let (to, frames) = answer.ok_or_else(closed)?;
                    let answer = SyncMarker::read_answer(&frames.head).filter(|_| to == *marker);
                    if let Some((publisher, connections)) = answer {
                        let most = answered.entry(publisher).or_default();
                        // Bounded, so that the sum of malicious peers' numbers cannot overflow.
                        let connections = u16::try_from(connections).unwrap_or(u16::MAX);
                        *most = usize::from(connections).max(*most);
                        let told = SyncMarker::read_accepted_max(&frames).unwrap_or(usize::MAX);
                        accepted_max = Some(accepted_max.map_or(told, |max| told.min(max)));
                    }
                }
                // A connection may be lost, and its answer with it.
                () = sleep_until(Instant::now() + RECOUNT) => {}
            }
        }
        if let Some(max) = accepted_max {
            self.accepted_max.store(max, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Returns the error of a filter that a publisher does not accept, with the name of its bound.
fn refused(max: usize) -> Error {
    let error = Error::new(
        ErrorKind::Overloaded,
        "cannot add the filter: the publisher accepts no more subscriptions of one subscriber",
    );
    error.with("bound", "subscriptions_max").with("max", max).unsent()
}

/// The time after which the first marker is replaced. It doubles with each marker.
const PATIENCE_MIN: Duration = Duration::from_millis(200);

/// The interval at which the number of publishers is counted again.
const RECOUNT: Duration = Duration::from_millis(50);
