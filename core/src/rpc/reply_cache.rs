//! The cache of replies by which a server deduplicates requests.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::call_key::CallKey;
use super::deduplication_options::Deduplication;
use crate::message::Message;

/// The replies of a server to recent calls.
pub(super) struct ReplyCache {
    bounds: Deduplication,
    entries: Mutex<Entries>,
}

impl ReplyCache {
    /// Creates an empty cache.
    pub(super) fn new(bounds: Deduplication) -> Self {
        Self { bounds, entries: Mutex::default() }
    }

    /// Returns the reply to this call, and `true` if `work` returned it now.
    ///
    /// Runs `work` unless the reply is cached, or other work on the call is running; then waits for
    /// that work. Returns `None` if `work` returns no reply, so that the next duplicate runs its
    /// own work. Dropping the future drops the work; a duplicate that waits then runs its own.
    pub(super) async fn get_or_run(
        &self,
        key: CallKey,
        work: impl Future<Output = Option<Message>>,
    ) -> Option<(Message, bool)> {
        let cell = self.update(|entries| entries.cell(key));
        let mut is_new = false;
        let run = async {
            is_new = true;
            work.await.ok_or(())
        };
        let reply = cell.get_or_try_init(|| run).await.ok()?.clone();
        if is_new {
            self.update(|entries| entries.bytes += size(&reply));
        }
        Some((reply, is_new))
    }

    fn update<T>(&self, update: impl FnOnce(&mut Entries) -> T) -> T {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // Evicts before the update as well, so that an expired reply is not used.
        entries.evict(&self.bounds);
        let updated = update(&mut entries);
        entries.evict(&self.bounds);
        updated
    }
}

/// A reply; empty while its call is running.
type ReplyCell = OnceCell<Message>;

#[derive(Default)]
struct Entries {
    replies: HashMap<CallKey, Arc<ReplyCell>>,
    /// The keys with the time since which they are kept, the oldest first. A key whose call still
    /// runs is moved to the end.
    order: VecDeque<(Instant, CallKey)>,
    /// The total size of the replies.
    bytes: usize,
}

impl Entries {
    /// Returns the cell of a call, and adds it if it is missing.
    fn cell(&mut self, key: CallKey) -> Arc<ReplyCell> {
        match self.replies.entry(key) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                self.order.push_back((Instant::now(), new.key().clone()));
                new.insert(Arc::default()).clone()
            }
        }
    }

    /// Removes entries beyond the bounds, except those of running calls, which the window bounds.
    fn evict(&mut self, bounds: &Deduplication) {
        for _ in 0..self.order.len() {
            let Some((since, _)) = self.order.front() else { return };
            let is_over = self.order.len() > bounds.calls || self.bytes > bounds.bytes;
            if !is_over && since.elapsed() < bounds.time {
                return;
            }
            let Some((_, key)) = self.order.pop_front() else { return };
            match self.replies.entry(key) {
                // Cells are cloned only under the lock that is held here, so that a count of 1
                // means that the call has ended.
                Entry::Occupied(known) if Arc::strong_count(known.get()) == 1 => {
                    self.bytes -= known.remove().get().map_or(0, size);
                }
                Entry::Occupied(known) => {
                    self.order.push_back((Instant::now(), known.key().clone()));
                }
                Entry::Vacant(_) => {}
            }
        }
    }
}

/// Returns the approximate size of a reply in memory, in bytes.
fn size(reply: &Message) -> usize {
    let fault = reply.fault.as_ref().map_or(0, |fault| fault.message.len() + fault.details.len());
    size_of::<Message>() + reply.body.len() + fault
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;
    use crate::message::{CallId, ReplyTo};

    fn key(number: u64) -> CallKey {
        (ReplyTo::new("client"), Some(CallId(number)))
    }

    async fn runs(cache: &ReplyCache, number: u64) -> bool {
        let reply = Message::new(vec![0; 1000]);
        cache.get_or_run(key(number), ready(Some(reply))).await.unwrap().1
    }

    #[tokio::test]
    async fn duplicate_gets_the_cached_reply() {
        let cache = ReplyCache::new(Deduplication::default());
        assert!(runs(&cache, 1).await);
        assert!(!runs(&cache, 1).await);
        assert!(runs(&cache, 2).await);
        let elsewhere = (ReplyTo::new("another client"), Some(CallId(1)));
        assert!(cache.get_or_run(elsewhere, ready(Some(Message::default()))).await.unwrap().1);
    }

    #[tokio::test]
    async fn duplicate_of_a_running_call_waits() {
        let cache = ReplyCache::new(Deduplication::default());
        let (finish, finished) = tokio::sync::oneshot::channel();
        let work = async { finished.await.ok() };
        let (first, second) = tokio::join!(cache.get_or_run(key(1), work), async {
            let second = cache.get_or_run(key(1), async { panic!("run twice") });
            tokio::pin!(second);
            assert!(second.as_mut().now_or_never().is_none());
            finish.send(Message::new("done")).unwrap();
            second.await
        });
        assert!(first.unwrap().1);
        assert_eq!(second.unwrap().0.body.into_bytes(), "done");
    }

    #[tokio::test]
    async fn work_that_returned_no_reply_is_run_again() {
        let cache = ReplyCache::new(Deduplication::default());
        assert!(cache.get_or_run(key(1), pending()).now_or_never().is_none());
        assert!(cache.get_or_run(key(1), ready(None)).await.is_none());
        assert!(runs(&cache, 1).await);
    }

    #[tokio::test(start_paused = true)]
    async fn expired_reply_is_removed() {
        let cache = ReplyCache::new(Deduplication::default().time(Duration::from_secs(60)));
        assert!(runs(&cache, 1).await);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!runs(&cache, 1).await);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(runs(&cache, 1).await);
    }

    #[tokio::test]
    async fn number_and_bytes_are_bounded() {
        for bounds in [Deduplication::default().calls(3), Deduplication::default().bytes(4000)] {
            let cache = ReplyCache::new(bounds);
            for number in 0..4 {
                assert!(runs(&cache, number).await);
            }
            assert!(!runs(&cache, 3).await);
            assert!(runs(&cache, 0).await, "the oldest is removed");
            let entries = cache.entries.lock().unwrap();
            assert!(entries.replies.len() <= 3);
            assert_eq!(entries.replies.len(), entries.order.len());
            assert!(entries.bytes <= 4000);
        }
    }

    #[tokio::test]
    async fn running_call_is_not_removed() {
        let cache = ReplyCache::new(Deduplication::default().calls(1));
        let first = cache.get_or_run(key(1), pending());
        tokio::pin!(first);
        assert!(first.as_mut().now_or_never().is_none());
        assert!(runs(&cache, 2).await);
        let again = cache.get_or_run(key(1), async { panic!("run twice") });
        assert!(again.now_or_never().is_none());
    }
}
