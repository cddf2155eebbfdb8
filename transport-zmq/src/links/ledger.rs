//! Which calls a link carries, so that just those fail with it. No I/O.

use std::sync::Mutex;

use polywire_core::{CallId, Deadline};
use rustc_hash::FxHashMap;

use crate::error::lock;
use crate::wire::Frames;

/// The calls of one link that are not answered yet.
///
/// It learns of a call that was abandoned only by its deadline, so it throws out what has expired whenever it has
/// doubled since it did that last. Core bounds the calls in flight, and a deadline is finite; so is the ledger.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<State>);

#[derive(Default)]
struct State {
    entries: FxHashMap<CallId, Entry>,
    prune_at: usize,
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

    pub(crate) fn enter(&self, entry: Entry) {
        let Some(call) = entry.call else { return };
        let mut state = lock(&self.0);
        if state.entries.len() >= state.prune_at.max(Self::PRUNE_MIN) {
            state.entries.retain(|_, entry| !entry.deadline.is_some_and(Deadline::is_expired));
            state.prune_at = state.entries.len() * 2;
        }
        state.entries.insert(call, entry);
    }

    /// Takes out a call that was answered, or not sent after all.
    pub(crate) fn take(&self, call: CallId) -> Option<Entry> {
        lock(&self.0).entries.remove(&call)
    }

    /// Takes out every call.
    pub(crate) fn take_all(&self) -> Vec<CallId> {
        std::mem::take(&mut lock(&self.0).entries).into_keys().collect()
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

    #[test]
    fn what_was_tried_is_noted_up_to_the_64th_link() {
        let frames = Frames { head: bytes::Bytes::new(), body: None };
        let entry = Entry::new(None, None).at(0, frames.clone()).at(63, frames.clone()).at(64, frames);
        assert!(entry.was_tried(0) && entry.was_tried(63) && entry.was_tried(64));
        assert!(!entry.was_tried(1));
    }
}
