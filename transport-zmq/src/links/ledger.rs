//! Which calls a link carries, so that just those fail with it. No I/O.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use polywire_core::message::CallId;
use polywire_core::{Body, Deadline};
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use crate::error::lock;
use crate::wire::Frames;

/// The calls of one link that are not answered yet.
///
/// Of a call that ended by its deadline it is not told, so it throws out what has expired whenever
/// it has doubled since it did that last, in calls or in bytes, and whenever it is told to. Core
/// bounds the calls in flight, and a deadline is finite; so is the ledger.
pub(crate) struct Ledger {
    /// The bytes of requests that may wait for their replies, before others wait here.
    weight_max: usize,
    state: Mutex<State>,
    /// How many calls there are, and the bytes of their requests, for who only compares.
    load: AtomicUsize,
    weight: AtomicUsize,
    /// Tells that the requests weigh less than they may again.
    lighter: Notify,
}

#[derive(Default)]
struct State {
    entries: FxHashMap<CallId, Entry>,
    prune_at: usize,
    /// The bytes of all requests.
    weight: usize,
    /// The bytes of those that are kept, to be sent again.
    bytes: usize,
    prune_at_bytes: usize,
}

/// A request on a link.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) call: Option<CallId>,
    pub(crate) deadline: Option<Deadline>,
    /// Whether it may be sent again when nobody knows what became of it.
    pub(crate) idempotent: bool,
    /// The links that it was tried at, as bits. Those beyond the 64th are not noted, and not tried
    /// again.
    pub(crate) tried: u64,
    /// Whether it is for links that it was not tried at.
    pub(crate) is_returned: bool,
    /// Whether some server had it, of whom nobody knows what came of it.
    pub(crate) was_lost: bool,
    /// The request itself, if it could be sent again.
    pub(crate) frames: Option<Frames>,
    /// The bytes of the request.
    size: usize,
}

impl Entry {
    pub(crate) fn new(call: Option<CallId>, deadline: Option<Deadline>, idempotent: bool) -> Self {
        let (is_returned, was_lost) = (false, false);
        Self { call, deadline, idempotent, tried: 0, is_returned, was_lost, frames: None, size: 0 }
    }

    /// The entry for the link with this number. The request is kept if it could be sent again: to
    /// another link, if there are `others`.
    pub(crate) fn at(self, link: usize, frames: &Frames, others: bool) -> Self {
        let is_kept = self.call.is_some() && (others || self.idempotent);
        let Frames { head, body } = frames;
        let size = head.len() + body.as_ref().map_or(0, Body::len);
        Self {
            tried: self.tried | bit(link),
            frames: is_kept.then(|| frames.clone()),
            size,
            ..self
        }
    }

    /// Whether it is to be sent again when nobody knows what became of it.
    pub(crate) fn may_repeat(&self) -> bool {
        self.idempotent && self.frames.is_some() && !self.deadline.is_some_and(Deadline::is_expired)
    }

    /// Whether it could be handed to another link.
    pub(crate) fn is_kept(&self) -> bool {
        self.frames.is_some()
    }

    /// The entry of a request that a link has given back: it is for those that have not seen it.
    pub(crate) fn returned(self) -> Self {
        Self { is_returned: true, ..self }
    }

    /// What it keeps, beside itself.
    fn bytes(&self) -> usize {
        if self.frames.is_some() { self.size } else { 0 }
    }

    pub(crate) fn was_tried(&self, link: usize) -> bool {
        let bit = bit(link);
        bit == 0 || self.tried & bit != 0
    }
}

fn bit(link: usize) -> u64 {
    u32::try_from(link).ok().and_then(|link| 1_u64.checked_shl(link)).unwrap_or(0)
}

impl Ledger {
    const PRUNE_MIN: usize = 1024;

    const PRUNE_MIN_BYTES: usize = 1 << 20;

    pub(crate) fn new(weight_max: usize) -> Self {
        let [load, weight] = [(); 2].map(|()| AtomicUsize::new(0));
        Self { weight_max, state: Mutex::default(), load, weight, lighter: Notify::new() }
    }

    pub(crate) fn enter(&self, entry: Entry) {
        let Some(call) = entry.call else { return };
        let mut state = self.state();
        if state.entries.len() >= state.prune_at.max(Self::PRUNE_MIN)
            || state.bytes >= state.prune_at_bytes.max(Self::PRUNE_MIN_BYTES)
        {
            state.prune();
        }
        state.bytes += entry.bytes();
        state.weight += entry.size;
        if let Some(before) = state.entries.insert(call, entry) {
            state.bytes -= before.bytes();
            state.weight -= before.size;
        }
        self.weigh(&state);
    }

    /// How many calls there are. One that ended by its deadline counts until it is thrown out.
    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Whether so many bytes of requests wait for their replies that no more are to be sent. A
    /// single one may be as large as it likes.
    pub(crate) fn is_heavy(&self) -> bool {
        if self.weight.load(Ordering::Relaxed) >= self.weight_max {
            self.prune();
        }
        self.weight.load(Ordering::Relaxed) >= self.weight_max
    }

    /// Waits until it is heavy no more.
    pub(crate) async fn lighter(&self) {
        loop {
            let lighter = self.lighter.notified();
            tokio::pin!(lighter);
            // Listening before looking.
            lighter.as_mut().enable();
            if !self.is_heavy() {
                return;
            }
            lighter.await;
        }
    }

    /// Throws out what has expired.
    pub(crate) fn prune(&self) {
        let mut state = self.state();
        state.prune();
        self.weigh(&state);
    }

    /// Takes out a call that was answered, or not sent after all.
    pub(crate) fn take(&self, call: CallId) -> Option<Entry> {
        let mut state = self.state();
        let entry = state.entries.remove(&call)?;
        state.bytes -= entry.bytes();
        state.weight -= entry.size;
        self.weigh(&state);
        Some(entry)
    }

    /// Takes out every call.
    pub(crate) fn take_all(&self) -> Vec<Entry> {
        let mut state = self.state();
        let taken = std::mem::take(&mut *state);
        self.weigh(&state);
        taken.entries.into_values().collect()
    }

    fn weigh(&self, state: &State) {
        self.load.store(state.entries.len(), Ordering::Relaxed);
        let before = self.weight.swap(state.weight, Ordering::Relaxed);
        if before >= self.weight_max && state.weight < self.weight_max {
            self.lighter.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn prune(&mut self) {
        self.entries.retain(|_, entry| !entry.deadline.is_some_and(Deadline::is_expired));
        self.bytes = self.entries.values().map(Entry::bytes).sum();
        self.weight = self.entries.values().map(|entry| entry.size).sum();
        (self.prune_at, self.prune_at_bytes) = (self.entries.len() * 2, self.bytes * 2);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    const WEIGHT_MAX: usize = 1 << 20;

    fn entry(call: u64) -> Entry {
        Entry::new(Some(CallId(call)), Some(Deadline::after(Duration::from_millis(10))), false)
    }

    #[tokio::test(start_paused = true)]
    async fn abandoned_calls_are_thrown_out_in_time() {
        let ledger = Ledger::new(WEIGHT_MAX);
        for call in 0..100_000 {
            ledger.enter(entry(call));
            tokio::time::advance(Duration::from_micros(100)).await;
        }
        assert!(ledger.load() <= 2 * Ledger::PRUNE_MIN);
        assert_eq!(ledger.load(), ledger.state().entries.len());
    }

    #[tokio::test(start_paused = true)]
    async fn large_requests_of_abandoned_calls_are_thrown_out_in_time() {
        let ledger = Ledger::new(WEIGHT_MAX);
        let frames = Frames { head: vec![0; 100_000].into(), body: None };
        for call in 0..1000 {
            ledger.enter(entry(call).at(0, &frames, true));
            tokio::time::advance(Duration::from_millis(5)).await;
        }
        assert!(ledger.state().bytes <= 2 * Ledger::PRUNE_MIN_BYTES);
        tokio::time::advance(Duration::from_millis(20)).await;
        ledger.prune();
        // One lock at a time: both would live as long as the assertion.
        let state = ledger.state();
        assert_eq!((state.entries.len(), state.bytes, ledger.load()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn many_bytes_of_requests_make_others_wait_until_some_are_answered() {
        let ledger = Ledger::new(WEIGHT_MAX);
        let frames = Frames { head: vec![0; WEIGHT_MAX / 2].into(), body: None };
        for call in 0..2 {
            assert!(!ledger.is_heavy());
            ledger.enter(Entry::new(Some(CallId(call)), None, false).at(0, &frames, false));
        }
        assert!(ledger.is_heavy());
        let mut waiting = Box::pin(ledger.lighter());
        assert!((&mut waiting).now_or_never().is_none());
        assert!(ledger.take(CallId(1)).is_some());
        assert!(waiting.now_or_never().is_some());
        // What has expired weighs nothing.
        ledger.enter(entry(1).at(0, &frames, false));
        assert!(ledger.is_heavy());
        tokio::time::advance(Duration::from_millis(20)).await;
        assert!(!ledger.is_heavy());
    }

    #[test]
    fn a_request_is_kept_only_if_it_could_be_sent_again() {
        let frames = Frames { head: bytes::Bytes::new(), body: None };
        for (call, idempotent, others, is_kept) in [
            (Some(CallId(1)), false, false, false),
            (Some(CallId(1)), false, true, true),
            (Some(CallId(1)), true, false, true),
            (None, true, true, false),
        ] {
            let entry = Entry::new(call, None, idempotent).at(0, &frames, others);
            assert_eq!(entry.frames.is_some(), is_kept, "{call:?} {idempotent} {others}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_tried_is_noted_up_to_the_64th_link() {
        let frames = Frames { head: bytes::Bytes::new(), body: None };
        let entry =
            [0, 63, 64].into_iter().fold(entry(1), |entry, link| entry.at(link, &frames, true));
        assert!(entry.was_tried(0) && entry.was_tried(63) && entry.was_tried(64));
        assert!(!entry.was_tried(1));
    }
}
