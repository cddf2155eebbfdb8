//! The subscriptions of a subscriber: its filters, and the prefixes that its socket subscribes to.

mod publisher_sync;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use polywire_core::transport::LogThrottle;
use polywire_core::{Deadline, Error, ErrorKind, Filter, Result};
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Mutex;
use tokio::time::timeout_at;

use super::accepted_subscriptions::{AcceptedSubscriptions, UNTOLD_MAX};
use super::event_buffer::EventBuffer;
use crate::engine::Sub;
use crate::wire::{Channel, Frames, SyncMarker};

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
    /// The number of times that markers were sent for additions. Changes while `synced` is locked.
    rounds: AtomicU64,
    /// The bound on the number of prefixes in `current`, as the publishers state it.
    accepted: AcceptedSubscriptions,
    /// Throttle for log lines of publishers that do not answer.
    unanswered: LogThrottle,
}

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
            rounds: AtomicU64::new(0),
            accepted: AcceptedSubscriptions::new(),
            unanswered: LogThrottle::new(),
        }
    }

    /// Adds filters before the first publisher is connected. Returns those beyond the bound of
    /// 1,000, which can be added when a publisher has answered that it accepts more.
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
        let _change = Change::begin(self);
        let give_up = Deadline::after(self.connect_timeout).instant();
        // A publisher that connects later gets all subscriptions at once.
        let _ = timeout_at(give_up, self.socket.ready()).await;
        // Locked before the first marker. A canary may hold the lock for longer than the timeout.
        if let Ok(mut synced) = timeout_at(give_up, self.synced.lock()).await {
            *synced = self.synchronize(give_up).await?;
        }
        let (held, max) = (self.current.lock().await.prefixes.len(), self.accepted.max());
        if held <= max {
            return Ok(());
        }
        self.accepted.note_known();
        Err(refused(max))
    }

    /// Adds a filter, and waits until every connected publisher has it. If the future is dropped,
    /// the filter may be added or not.
    ///
    /// Publishers that do not answer within the connect timeout are not waited for. A filter that
    /// is present is not added twice. At the bound, the publishers are asked first: the one that
    /// has stated the bound may have left.
    ///
    /// # Errors
    ///
    /// `Overloaded` if a publisher does not accept one more subscription.
    pub(super) async fn add(&self, filter: Filter) -> Result<()> {
        let _change = Change::begin(self);
        let (is_new, addition) = match self.try_add(&filter).await {
            Err(error) if error.kind() == ErrorKind::Overloaded => {
                // Additions that are refused at the same time share the answers of one round.
                let rounds = self.rounds.load(Ordering::Relaxed);
                let mut synced = self.synced.lock().await;
                if rounds == self.rounds.load(Ordering::Relaxed) {
                    let give_up = Deadline::after(self.connect_timeout).instant();
                    *synced = self.synchronize(give_up).await?;
                }
                drop(synced);
                self.try_add(&filter).await?
            }
            added => added?,
        };
        let mut synced = self.synced.lock().await;
        if *synced < addition {
            *synced = self.synchronize(Deadline::after(self.connect_timeout).instant()).await?;
        }
        // The answers may have lowered the bound. A filter that was present before stays.
        // `synced` stays locked: another addition of this filter reads the result after it.
        let mut current = self.current.lock().await;
        let (held, max) = (current.prefixes.len(), self.accepted.max());
        match (is_new, current.filters.contains(&filter)) {
            (true, true) if held > max => {
                self.unsubscribe(&mut current, &filter).await?;
                Err(refused(max))
            }
            // The addition that this one relied on was refused.
            (false, false) if held >= max => Err(refused(max)),
            _ => Ok(()),
        }
    }

    /// Sends a marker, and waits until every connected publisher has answered it. If the future is
    /// dropped, late answers are ignored.
    ///
    /// The wait has no bound: the caller sets one. Additions wait meanwhile.
    ///
    /// # Errors
    ///
    /// `Unsupported` if no publisher is connected, which is no fault of the subscriber, and
    /// `Closed` if the socket is closed.
    pub(super) async fn probe(&self) -> Result<()> {
        // The canary may read the answer of a publisher that has connected meanwhile.
        let _change = Change::begin(self);
        let _synced = self.synced.lock().await;
        let marker = {
            let mut current = self.current.lock().await;
            if self.socket.publisher_count().await? == 0 {
                let text = "cannot send the canary: no publisher is connected";
                return Err(Error::new(ErrorKind::Unsupported, text));
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

    /// Notes the answer of a publisher that has connected meanwhile. Returns an error, and logs it,
    /// if the publisher accepts fewer subscriptions than the others, and than there are.
    pub(super) fn note_answer(&self, frames: &Frames) -> Option<Error> {
        self.accepted.lower(SyncMarker::read_accepted_max(frames)?);
        self.accepted.excess()
    }

    /// Adds a filter, without waiting for the publishers. Returns whether the filter is new, and
    /// the number of additions so far.
    async fn try_add(&self, filter: &Filter) -> Result<(bool, u64)> {
        let mut current = self.current.lock().await;
        let is_new = self.subscribe(&mut current, filter.clone()).await?;
        Ok((is_new, current.additions))
    }

    /// Adds a filter, without waiting for the publishers. Returns false if it is present.
    async fn subscribe(&self, current: &mut Current, filter: Filter) -> Result<bool> {
        if current.filters.contains(&filter) {
            return Ok(false);
        }
        let prefix = self.channel.prefix(&filter);
        // Several filters may share a prefix, which is subscribed to once.
        if !current.prefixes.contains_key(&prefix) {
            let max = self.accepted.max();
            if current.prefixes.len() >= max {
                return Err(refused(max));
            }
            self.socket.subscribe(prefix.clone()).await?;
        }
        *current.prefixes.entry(prefix).or_default() += 1;
        self.accepted.set_held(current.prefixes.len());
        current.filters.insert(filter);
        current.additions += 1;
        Ok(true)
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
        self.accepted.set_held(current.prefixes.len());
        self.socket.unsubscribe(prefix).await
    }
}

/// A change or a canary under way. Dropping the value ends it, and passes a smaller bound of a
/// publisher to the receiver, unless the program knows of it.
struct Change<'a>(&'a Subscriptions);

impl<'a> Change<'a> {
    fn begin(subscriptions: &'a Subscriptions) -> Self {
        subscriptions.accepted.begin_change();
        Self(subscriptions)
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if let Some(error) = self.0.accepted.end_change() {
            self.0.buffer.notify(error);
        }
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
