//! What a server remembers of its answers, so that a request that comes again is not carried out
//! again.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::message::{CallId, Message, ReplyTo};

/// For how many calls, and for how long, a server remembers what it answered.
///
/// A request that is delivered again, because its server lost its connection before the reply was
/// confirmed, is answered from memory; one that comes again while the first is still being worked
/// on waits for that. What is the oldest is forgotten first, when any of the bounds is reached.
///
/// Calls are told apart by their return address and number. Requests that want no reply have
/// neither, and are not suppressed. What another server of the service has carried out, this one
/// does not know.
///
/// ```
/// # use polywire_core::{Memory, Result, Server};
/// # use polywire_core::rpc::Deduplication;
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let transport = Memory::new();
/// let suppression = Deduplication::default().calls(50_000).time(Duration::from_mins(1));
/// let server = Server::bind(&transport, "accounts").deduplicate(suppression).await?;
/// # drop(server);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deduplication {
    calls: usize,
    time: Duration,
    bytes: usize,
}

impl Deduplication {
    /// Remembers this many calls. The default is 10,000.
    pub const fn calls(self, calls: usize) -> Self {
        Self { calls, ..self }
    }

    /// Remembers a call for this long. The default is 5 minutes, which is as long as a client of
    /// RabbitMQ that is away has its reply queue.
    pub const fn time(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// Remembers replies of this many bytes in all. The default is 64 MiB.
    pub const fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }
}

impl Default for Deduplication {
    fn default() -> Self {
        Self { calls: 10_000, time: Duration::from_mins(5), bytes: 64 << 20 }
    }
}

/// Which call it is, among those of all callers.
pub(super) type CallKey = (ReplyTo, Option<CallId>);

/// The answers of a server.
pub(super) struct ReplyCache {
    bounds: Deduplication,
    remembered: Mutex<Remembered>,
}

impl ReplyCache {
    pub(super) fn new(bounds: Deduplication) -> Self {
        Self { bounds, remembered: Mutex::default() }
    }

    /// The reply to this call, and whether it was `work` that gave it. `None` if `work` gave none,
    /// in which case the next one may.
    ///
    /// Dropping the future drops the work, and whoever else waits for it begins with his own.
    pub(super) async fn once(
        &self,
        caller: CallKey,
        work: impl Future<Output = Option<Message>>,
    ) -> Option<(Message, bool)> {
        let answer = self.answer(caller);
        let mut is_fresh = false;
        let worked = async {
            is_fresh = true;
            work.await.ok_or(())
        };
        let reply = answer.get_or_try_init(|| worked).await.ok()?.clone();
        if is_fresh {
            self.change(|remembered| remembered.bytes += size(&reply));
        }
        Some((reply, is_fresh))
    }

    fn answer(&self, caller: CallKey) -> Arc<Answer> {
        self.change(|remembered| remembered.answer(caller))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Remembered) -> T) -> T {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        // Before as well, so that nobody is given what is too old.
        remembered.forget(&self.bounds);
        let changed = change(&mut remembered);
        remembered.forget(&self.bounds);
        changed
    }
}

/// Empty while the call is being worked on.
type Answer = OnceCell<Message>;

#[derive(Default)]
struct Remembered {
    /// The keys come from the network, so they are hashed with care.
    answers: HashMap<CallKey, Arc<Answer>>,
    /// The oldest first.
    order: VecDeque<(Instant, CallKey)>,
    bytes: usize,
}

impl Remembered {
    fn answer(&mut self, caller: CallKey) -> Arc<Answer> {
        match self.answers.entry(caller) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                self.order.push_back((Instant::now(), new.key().clone()));
                new.insert(Arc::default()).clone()
            }
        }
    }

    /// Forgets what is over a bound, but for what somebody is at, which is no more than a window.
    fn forget(&mut self, bounds: &Deduplication) {
        for _ in 0..self.order.len() {
            let Some((since, _)) = self.order.front() else { return };
            let is_over = self.order.len() > bounds.calls || self.bytes > bounds.bytes;
            if !is_over && since.elapsed() < bounds.time {
                return;
            }
            let Some((_, caller)) = self.order.pop_front() else { return };
            match self.answers.entry(caller) {
                // Handles are taken under the lock that is held here.
                Entry::Occupied(known) if Arc::strong_count(known.get()) == 1 => {
                    self.bytes -= known.remove().get().map_or(0, size);
                }
                Entry::Occupied(known) => {
                    self.order.push_back((Instant::now(), known.key().clone()))
                }
                Entry::Vacant(_) => {}
            }
        }
    }
}

/// About what a reply takes.
fn size(reply: &Message) -> usize {
    let fault = reply.fault.as_ref().map_or(0, |fault| fault.message.len() + fault.details.len());
    size_of::<Message>() + reply.body.len() + fault
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt;

    use super::*;

    fn caller(number: u64) -> CallKey {
        (ReplyTo::new("client"), Some(CallId(number)))
    }

    async fn ask(answers: &ReplyCache, number: u64) -> bool {
        let reply = Message::new(vec![0; 1000]);
        answers.once(caller(number), ready(Some(reply))).await.unwrap().1
    }

    #[tokio::test]
    async fn second_time_is_answered_from_memory() {
        let answers = ReplyCache::new(Deduplication::default());
        assert!(ask(&answers, 1).await);
        assert!(!ask(&answers, 1).await);
        assert!(ask(&answers, 2).await);
        let elsewhere = (ReplyTo::new("another client"), Some(CallId(1)));
        assert!(answers.once(elsewhere, ready(Some(Message::default()))).await.unwrap().1);
    }

    #[tokio::test]
    async fn one_that_comes_meanwhile_waits() {
        let answers = ReplyCache::new(Deduplication::default());
        let (tell, told) = tokio::sync::oneshot::channel();
        let work = async { told.await.ok() };
        let (first, second) = tokio::join!(answers.once(caller(1), work), async {
            let second = answers.once(caller(1), async { panic!("carried out twice") });
            tokio::pin!(second);
            assert!(second.as_mut().now_or_never().is_none());
            tell.send(Message::new("done")).unwrap();
            second.await
        });
        assert!(first.unwrap().1);
        assert_eq!(second.unwrap().0.body.into_bytes(), "done");
    }

    #[tokio::test]
    async fn work_that_was_dropped_or_gave_up_is_begun_again() {
        let answers = ReplyCache::new(Deduplication::default());
        assert!(answers.once(caller(1), pending()).now_or_never().is_none());
        assert!(answers.once(caller(1), ready(None)).await.is_none());
        assert!(ask(&answers, 1).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_old_is_forgotten() {
        let answers = ReplyCache::new(Deduplication::default().time(Duration::from_secs(60)));
        assert!(ask(&answers, 1).await);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!ask(&answers, 1).await);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(ask(&answers, 1).await);
    }

    #[tokio::test]
    async fn number_and_bytes_are_bounded() {
        for bounds in [Deduplication::default().calls(3), Deduplication::default().bytes(4000)] {
            let answers = ReplyCache::new(bounds);
            for number in 0..4 {
                assert!(ask(&answers, number).await);
            }
            assert!(!ask(&answers, 3).await);
            assert!(ask(&answers, 0).await, "the oldest is forgotten");
            let remembered = answers.remembered.lock().unwrap();
            assert!(remembered.answers.len() <= 3);
            assert_eq!(remembered.answers.len(), remembered.order.len());
            assert!(remembered.bytes <= 4000);
        }
    }

    #[tokio::test]
    async fn what_somebody_is_at_is_not_forgotten() {
        let answers = ReplyCache::new(Deduplication::default().calls(1));
        let first = answers.once(caller(1), pending());
        tokio::pin!(first);
        assert!(first.as_mut().now_or_never().is_none());
        assert!(ask(&answers, 2).await);
        let again = answers.once(caller(1), async { panic!("carried out twice") });
        assert!(again.now_or_never().is_none());
    }
}
