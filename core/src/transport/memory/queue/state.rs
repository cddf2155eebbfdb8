//! The state of a queue: its entries and its consumers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::consumer_state::{ConsumerSignals, ConsumerState};
use super::entry::{QueueEntry, UnsettledEntry};
use crate::message::Message;
use crate::transport::{Abandoned, Answer};

/// Entries and consumers of a queue.
///
/// Ready and delayed entries together are bounded by [`CAPACITY`] for new messages, and by the
/// windows of the consumers for requeued ones.
#[derive(Default)]
pub(super) struct QueueState {
    /// Entries to be fetched, sorted by rank.
    ready: VecDeque<QueueEntry>,
    /// Delayed retries, by their time and a number.
    delayed: BTreeMap<(Instant, u64), QueueEntry>,
    consumers: FxHashMap<u64, ConsumerState>,
    /// Consumers whose streams are open. Handlers may run, although nothing is unsettled.
    open: FxHashSet<u64>,
    last_position: u64,
    last_delay: u64,
    /// Set if a ready entry may have been declined.
    has_declined: bool,
}

/// Outcome of a fetch.
pub(in super::super) enum Fetch {
    /// Fetched message.
    Fetched(Fetched),
    /// Fetched canary, to be sent back.
    Canary(oneshot::Sender<()>),
    /// No message is ready. If a delayed retry exists, its time; the consumer has to fetch again
    /// then.
    Pending(Option<Instant>),
    /// The consumer has stopped.
    End,
}

/// Fetched message with the tag that settles it and the number of the attempt.
pub(in super::super) struct Fetched {
    pub(in super::super) tag: u64,
    pub(in super::super) message: Box<Message>,
    pub(in super::super) attempt: u32,
}

const CAPACITY: usize = 1024;

impl QueueState {
    /// Returns whether a new message has to wait for room.
    pub(super) fn is_full(&self) -> bool {
        self.ready.len() + self.delayed.len() >= CAPACITY
    }

    /// Returns whether a consumer is left that fetches.
    pub(super) fn has_consumers(&self) -> bool {
        self.consumers.values().any(|consumer| consumer.active)
    }

    /// Adds a consumer that holds at most `window` entries unsettled.
    pub(super) fn add_consumer(&mut self, id: u64, window: usize) {
        self.consumers.insert(id, ConsumerState::new(window));
        self.open.insert(id);
    }

    /// Notes that the stream of a consumer is dropped.
    pub(super) fn close_stream(&mut self, id: u64) {
        self.open.remove(&id);
        self.remove_finished(id);
    }

    /// Ends the fetching of a consumer. Its unsettled entries can still be settled. Returns whether
    /// the consumer exists.
    pub(super) fn stop_consumer(&mut self, id: u64) -> bool {
        let Some(consumer) = self.consumers.get_mut(&id) else { return false };
        consumer.active = false;
        self.ready.retain(|entry| !entry.is_canary_of(id));
        self.remove_finished(id);
        true
    }

    /// Removes a consumer and requeues its unsettled entries. Returns whether the consumer existed.
    pub(super) fn remove_consumer(&mut self, id: u64) -> bool {
        let Some(mut consumer) = self.consumers.remove(&id) else { return false };
        self.ready.retain(|entry| !entry.is_canary_of(id));
        // Its replies cannot be sent any more.
        self.open.remove(&id);
        consumer.wake();
        for entry in consumer.unsettled.into_entries() {
            self.insert(entry.into_entry().next_attempt());
        }
        true
    }

    /// Fetches the first ready entry that the consumer has not declined.
    pub(super) fn fetch(&mut self, id: u64, cx: &Context<'_>) -> Fetch {
        self.promote_due();
        let Self { ready, delayed, consumers, .. } = self;
        let Some(consumer) = consumers.get_mut(&id).filter(|consumer| consumer.active) else {
            return Fetch::End;
        };
        let has_room = consumer.unsettled.len() < consumer.window;
        let next = ready.iter().position(|entry| entry.is_for(id)).filter(|_| has_room);
        let next = next.and_then(|next| match next {
            0 => ready.pop_front(),
            next => ready.remove(next),
        });
        let Some(mut entry) = next else {
            consumer.register(cx);
            let next_retry = delayed.first_key_value().map(|((at, _), _)| *at);
            return Fetch::Pending(next_retry.filter(|_| has_room));
        };
        if let Some(canary) = entry.canary.take() {
            return Fetch::Canary(canary.back);
        }
        let tag = consumer.unsettled.add(&mut entry);
        Fetch::Fetched(Fetched { tag, message: entry.message, attempt: entry.attempt })
    }

    /// Returns the signals of a consumer, for its stream.
    pub(super) fn signals(&self, id: u64) -> Arc<ConsumerSignals> {
        self.consumers.get(&id).map(|consumer| consumer.signals.clone()).unwrap_or_default()
    }

    /// Appends a canary for a consumer. Returns whether the consumer fetches.
    ///
    /// Canaries have no bound of their own: each probe waits for one.
    pub(super) fn add_canary(&mut self, id: u64, back: oneshot::Sender<()>) -> bool {
        self.ready.retain(|entry| !entry.is_abandoned_canary());
        let Some(consumer) = self.consumers.get_mut(&id).filter(|consumer| consumer.active) else {
            return false;
        };
        consumer.wake();
        self.append(QueueEntry::canary(id, back));
        true
    }

    /// Takes an unsettled entry out, to be settled.
    pub(super) fn take_unsettled(&mut self, id: u64, tag: u64) -> Option<UnsettledEntry> {
        let consumer = self.consumers.get_mut(&id)?;
        let entry = consumer.unsettled.take(tag)?;
        consumer.wake_if_it_was_full();
        self.remove_finished(id);
        Some(entry)
    }

    /// Drops an unsettled entry, which is settled for good. Returns whether it was there.
    pub(super) fn drop_unsettled(&mut self, id: u64, tag: u64) -> bool {
        let Some(consumer) = self.consumers.get_mut(&id) else { return false };
        let is_dropped = consumer.unsettled.drop_settled(tag);
        if is_dropped {
            consumer.wake_if_it_was_full();
            self.remove_finished(id);
        }
        is_dropped
    }

    /// Removes a ready request of `call`. Returns whether there was one.
    pub(super) fn remove_request(&mut self, call: &Abandoned) -> bool {
        let before = self.ready.len();
        self.ready.retain(|entry| !entry.is_request_of(call));
        self.ready.len() < before
    }

    /// Notifies the consumer of an unsettled request that its call is abandoned. A request that
    /// runs at most once was settled when it began, and its consumer is not recorded: then all
    /// consumers are notified, and all but one of them ignore the call.
    pub(super) fn notify_abandoned(&mut self, call: &Abandoned) {
        let holds = |consumer: &ConsumerState| {
            consumer.unsettled.entries().any(|entry| entry.is_request_of(call))
        };
        let is_unsettled = self.consumers.values().any(holds);
        for consumer in self.consumers.values_mut() {
            if is_unsettled && !holds(consumer) {
                continue;
            }
            consumer.add_abandoned(call.clone());
        }
    }

    /// Polls for an abandoned call of a consumer, or registers its waker.
    pub(super) fn poll_abandoned(&mut self, id: u64, cx: &Context<'_>) -> Poll<Abandoned> {
        let Some(consumer) = self.consumers.get_mut(&id) else { return Poll::Pending };
        consumer.poll_abandoned(cx)
    }

    /// Passes the answer of a caller to a consumer.
    pub(super) fn answer(&mut self, id: u64, answer: Answer) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.add_answer(answer);
        }
    }

    /// Polls for an answer to a consumer, or registers its waker.
    pub(super) fn poll_answer(&mut self, id: u64, cx: &Context<'_>) -> Poll<Answer> {
        let Some(consumer) = self.consumers.get_mut(&id) else { return Poll::Pending };
        consumer.poll_answer(cx)
    }

    /// Returns whether the stream of a consumer is open.
    pub(super) fn is_open(&self, id: u64) -> bool {
        self.open.contains(&id)
    }

    /// Appends an entry behind the entries of its priority.
    pub(super) fn append(&mut self, entry: QueueEntry) {
        self.last_position += 1;
        self.insert(QueueEntry { position: self.last_position, ..entry });
    }

    /// Inserts an entry at its position.
    pub(super) fn insert(&mut self, entry: QueueEntry) {
        self.has_declined |= entry.declines.is_some();
        match self.ready.back() {
            Some(last) if last.rank() > entry.rank() => {
                let at = self.ready.partition_point(|other| other.rank() < entry.rank());
                self.ready.insert(at, entry);
            }
            _ => self.ready.push_back(entry),
        }
    }

    /// Delays an entry until `at`. A number keeps the key unique.
    pub(super) fn delay(&mut self, entry: QueueEntry, at: Instant) {
        self.last_delay += 1;
        self.delayed.insert((at, self.last_delay), entry);
    }

    /// Returns the number of delayed entries whose time has not come.
    pub(super) fn waiting(&self) -> usize {
        self.delayed.range((Instant::now(), u64::MAX)..).count()
    }

    /// Takes all entries out.
    pub(super) fn drain(&mut self) -> Vec<Message> {
        let delayed = std::mem::take(&mut self.delayed).into_values();
        self.ready.drain(..).chain(delayed).map(QueueEntry::into_orphan).collect()
    }

    /// Takes out the entries that every active consumer has declined.
    pub(super) fn take_declined(&mut self) -> Vec<Message> {
        if !std::mem::take(&mut self.has_declined) {
            return Vec::new();
        }
        let mut orphans = Vec::new();
        for entry in std::mem::take(&mut self.ready) {
            let mut active = self.consumers.iter().filter(|(_, consumer)| consumer.active);
            if active.all(|(id, _)| entry.is_declined_by(*id)) {
                orphans.push(entry.into_orphan());
            } else {
                self.has_declined |= entry.declines.is_some();
                self.ready.push_back(entry);
            }
        }
        orphans
    }

    /// Wakes every consumer, because a single woken one might be dropped before it fetches.
    pub(super) fn wake_consumers(&mut self) {
        self.consumers.values_mut().for_each(ConsumerState::wake);
    }

    /// Moves the delayed retries whose time has come to the ready entries.
    fn promote_due(&mut self) {
        if self.delayed.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(first) = self.delayed.first_entry().filter(|first| first.key().0 <= now) {
            let entry = first.remove();
            self.append(entry);
        }
    }

    /// Removes a consumer that has stopped and has settled everything, once its stream is dropped:
    /// until then, handlers of settled requests may run, and can be cancelled.
    fn remove_finished(&mut self, id: u64) {
        if self.is_open(id) {
            return;
        }
        let is_finished =
            |consumer: &ConsumerState| !consumer.active && consumer.unsettled.len() == 0;
        if self.consumers.get(&id).is_some_and(is_finished) {
            self.consumers.remove(&id);
        }
    }
}
