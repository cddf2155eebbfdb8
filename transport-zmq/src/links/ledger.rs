//! Which calls a link carries, so that just those fail with it. No I/O.

use std::sync::Mutex;

use polywire_core::{Body, CallId, Deadline};
use rustc_hash::FxHashMap;

use crate::error::lock;
use crate::wire::Frames;

/// The calls of one link that are not answered yet.
///
/// It learns of a call that was abandoned only by its deadline, so it throws out what has expired whenever it has
/// doubled since it did that last, in calls or in bytes, and whenever it is told to. Core bounds the calls in flight, and a
/// deadline is finite; so is the ledger.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<State>);

#[derive(Default)]
struct State {
    entries: FxHashMap<CallId, Entry>,
    prune_at: usize,
    /// The bytes of the requests that are kept for another link.
    bytes: usize,
    prune_at_bytes: usize,
}

/// A request on a link.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) call: Option<CallId>,
    deadline: Option<Deadline>,
    /// The links that it was tried at, as bits. Those beyond the 64th are not noted, and not tried again.
    pub(crate) tried: u64,
    /// The request itself, if another link could take it.
    pub(crate) frames: Option<Frames>,
}

impl Entry {
    pub(crate) fn new(call: Option<CallId>, deadline: Option<Deadline>) -> Self {
        Self { call, deadline, tried: 0, frames: None }
    }

    /// The entry for the link with this number, one of several.
    pub(crate) fn at(self, link: usize, frames: Frames) -> Self {
        Self { tried: self.tried | bit(link), frames: Some(frames), ..self }
    }

    /// What it keeps, beside itself.
    fn bytes(&self) -> usize {
        let frames = self.frames.as_ref();
        frames.map_or(0, |Frames { head, body }| head.len() + body.as_ref().map_or(0, Body::len))
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

    pub(crate) fn enter(&self, entry: Entry) {
        let Some(call) = entry.call else { return };
        let mut state = lock(&self.0);
        if state.entries.len() >= state.prune_at.max(Self::PRUNE_MIN)
            || state.bytes >= state.prune_at_bytes.max(Self::PRUNE_MIN_BYTES)
        {
            state.prune();
        }
        state.bytes += entry.bytes();
        if let Some(before) = state.entries.insert(call, entry) {
            state.bytes -= before.bytes();
        }
    }

    /// Throws out what has expired.
    pub(crate) fn prune(&self) {
        lock(&self.0).prune();
    }

    /// Takes out a call that was answered, or not sent after all.
    pub(crate) fn take(&self, call: CallId) -> Option<Entry> {
        let mut state = lock(&self.0);
        let entry = state.entries.remove(&call)?;
        state.bytes -= entry.bytes();
        Some(entry)
    }

    /// Takes out every call.
    pub(crate) fn take_all(&self) -> Vec<CallId> {
        std::mem::take(&mut *lock(&self.0)).entries.into_keys().collect()
    }
}

impl State {
    fn prune(&mut self) {
        self.entries.retain(|_, entry| !entry.deadline.is_some_and(Deadline::is_expired));
        self.bytes = self.entries.values().map(Entry::bytes).sum();
        (self.prune_at, self.prune_at_bytes) = (self.entries.len() * 2, self.bytes * 2);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn abandoned_calls_are_thrown_out_in_time() {
        let ledger = Ledger::default();
        for call in 0..100_000 {
            ledger.enter(Entry::new(Some(CallId(call)), Some(Deadline::after(Duration::from_millis(10)))));
            tokio::time::advance(Duration::from_micros(100)).await;
        }
        assert!(lock(&ledger.0).entries.len() <= 2 * Ledger::PRUNE_MIN);
    }

    #[tokio::test(start_paused = true)]
    async fn large_requests_of_abandoned_calls_are_thrown_out_in_time() {
        let ledger = Ledger::default();
        let frames = Frames { head: vec![0; 100_000].into(), body: None };
        for call in 0..1000 {
            let entry = Entry::new(Some(CallId(call)), Some(Deadline::after(Duration::from_millis(10))));
            ledger.enter(entry.at(0, frames.clone()));
            tokio::time::advance(Duration::from_millis(5)).await;
        }
        assert!(lock(&ledger.0).bytes <= 2 * Ledger::PRUNE_MIN_BYTES);
        tokio::time::advance(Duration::from_millis(20)).await;
        ledger.prune();
        // One lock at a time: both would live as long as the assertion.
        let state = lock(&ledger.0);
        assert_eq!((state.entries.len(), state.bytes), (0, 0));
    }

    #[test]
    fn what_was_tried_is_noted_up_to_the_64th_link() {
        let frames = Frames { head: bytes::Bytes::new(), body: None };
        let entry = Entry::new(None, None).at(0, frames.clone()).at(63, frames.clone()).at(64, frames);
        assert!(entry.was_tried(0) && entry.was_tried(63) && entry.was_tried(64));
        assert!(!entry.was_tried(1));
    }
}
