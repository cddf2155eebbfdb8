//! Policy for callers that do not read their replies. No I/O.
//!
//! All limits on patience with a caller of this process are here; a proxy has its own in
//! `proxy/request_reply.rs`. The [byte budget](crate::engine::ByteBudget) of a
//! peer, which the socket keeps, is the input: an exhausted budget makes a large reply wait, and a
//! release shows that the peer reads. The socket bounds memory, and this file decides how long a
//! reply may occupy a place in the window while it waits.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use polywire_core::transport::Sending;
use polywire_core::{Error, ErrorKind, Result};
use rustc_hash::FxHashSet;
use tokio::time::{Instant, timeout_at};

use crate::engine::Router;
use crate::lock::lock;
use crate::wire::Frames;

/// The peers that had no room for a reply within the patience, by routing id.
///
/// A reply that waits for room keeps its place in the window, so it delays other callers. The first
/// replies to a full peer wait, in case the peer is only slow. Those after them fail at once, until
/// the peer reads again. So a caller that never reads costs the others one patience, and not one
/// per reply.
#[derive(Default)]
pub(crate) struct SlowCallers {
    peers: Mutex<FxHashSet<Bytes>>,
    /// Set if there may be a slow peer, so that a reply costs no lock.
    is_any: AtomicBool,
}

impl SlowCallers {
    /// Entries at most: 10,000. Disconnected peers stay, so beyond this number all entries are
    /// removed; a peer that is still slow is found again.
    const MAX: usize = 10_000;

    /// Sends a reply, after waiting for room if the peer is not known as slow. Dropping the
    /// returned value may drop the reply.
    ///
    /// # Errors
    ///
    /// `Unroutable` if the peer is gone or does not read its replies, and `Closed` if the socket is
    /// closed.
    pub(crate) fn send<'a>(
        &'a self,
        router: &'a dyn Router,
        peer: Bytes,
        frames: Frames,
    ) -> Sending<'a> {
        let is_slow = self.contains(&peer);
        let was_drained = is_slow && router.budget(&peer).is_none();
        let mut sending = router.send(peer.clone(), frames);
        match (&mut sending).now_or_never() {
            Some(sent) => {
                // A small reply has room beside large ones that the peer does not read, so its
                // success alone does not show that the peer reads.
                if is_slow && (was_drained || !is_over_budget(router, &peer)) {
                    self.remove(&peer);
                }
                Sending::ready(sent)
            }
            None if is_slow => Sending::ready(Err(unread())),
            None => Sending::later(self.wait(router, peer, sending)),
        }
    }

    /// Waits for room for a reply, for up to 10 seconds without progress and a minute in all. Then
    /// records the peer as slow.
    async fn wait(&self, router: &dyn Router, peer: Bytes, mut sending: Sending<'_>) -> Result<()> {
        let releases = || router.budget(&peer).map_or(0, |budget| budget.releases());
        let end = Instant::now() + PATIENCE_MAX;
        loop {
            let (before, give_up) = (releases(), end.min(Instant::now() + PATIENCE));
            if let Ok(sent) = timeout_at(give_up, &mut sending).await {
                return sent;
            }
            // A peer that takes its time for large replies makes progress.
            if releases() == before || give_up == end {
                break;
            }
        }
        let mut peers = lock(&self.peers);
        if peers.len() >= Self::MAX {
            peers.clear();
        }
        peers.insert(peer);
        self.is_any.store(true, Ordering::Release);
        Err(unread())
    }

    /// Removes a peer that reads again.
    fn remove(&self, peer: &Bytes) {
        let mut peers = lock(&self.peers);
        peers.remove(peer);
        // Under the lock, so that no peer is inserted in between.
        self.is_any.store(!peers.is_empty(), Ordering::Release);
    }

    /// Returns whether a peer is known as slow. Most sockets have no slow peers.
    fn contains(&self, peer: &Bytes) -> bool {
        self.is_any.load(Ordering::Acquire) && lock(&self.peers).contains(peer)
    }
}

/// Returns whether so many bytes are unsent for a peer that large messages wait. Small ones do not.
pub(crate) fn is_over_budget(router: &dyn Router, peer: &Bytes) -> bool {
    router.budget(peer).is_some_and(|budget| budget.is_exhausted())
}

/// The time that a reply waits for its peer to read any reply before it: 10 seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time that a reply waits for a peer that reads too little to make room: one minute, since
/// other requests wait for its place in the window.
const PATIENCE_MAX: Duration = Duration::from_mins(1);

fn unread() -> Error {
    Error::new(ErrorKind::Unroutable, "cannot send the reply: the caller does not read its replies")
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::Arc;

    use async_trait::async_trait;
    use futures_core::future::BoxFuture;
    use futures_core::stream::BoxStream;
    use futures_util::{StreamExt, stream};
    use tokio::time::sleep;

    use super::*;
    use crate::endpoint::EndpointChange;
    use crate::engine::{ByteBudget, RequestOrigin, SocketControl};

    /// A socket that has room or not, with one budget for all peers.
    struct FullRouter {
        has_room: AtomicBool,
        budget: Arc<ByteBudget>,
    }

    impl FullRouter {
        fn new() -> Self {
            Self { has_room: AtomicBool::new(false), budget: ByteBudget::new(BYTES_MAX) }
        }
    }

    const BYTES_MAX: usize = 10_000;

    #[async_trait]
    impl SocketControl for FullRouter {
        async fn change(&self, _: &EndpointChange) -> Result<Option<String>> {
            Ok(None)
        }

        fn close(&self) -> BoxFuture<'static, ()> {
            ready(()).boxed()
        }
    }

    impl Router for FullRouter {
        fn send(&self, _: Bytes, _: Frames) -> Sending<'_> {
            match self.has_room.load(Ordering::Relaxed) {
                true => Sending::ready(Ok(())),
                false => Sending::later(pending()),
            }
        }

        fn budget(&self, _: &Bytes) -> Option<Arc<ByteBudget>> {
            Some(self.budget.clone())
        }

        fn requests(&self) -> BoxStream<'static, (RequestOrigin, Frames)> {
            stream::empty().boxed()
        }
    }

    fn frames(size: usize) -> Frames {
        Frames { head: vec![0; size].into(), body: None }
    }

    /// Returns the time until a reply fails as unread.
    async fn unread_after(slow: &SlowCallers, router: &FullRouter) -> Duration {
        let begun = Instant::now();
        let error = slow.send(router, "peer".into(), frames(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unroutable);
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_waits_for_a_caller_once_and_again_after_the_caller_has_read() {
        let (slow, router) = (SlowCallers::default(), FullRouter::new());
        assert!(unread_after(&slow, &router).await >= PATIENCE);
        assert_eq!(unread_after(&slow, &router).await, Duration::ZERO);
        router.has_room.store(true, Ordering::Relaxed);
        assert!(slow.send(&router, "other".into(), frames(1)).await.is_ok());
        // A small reply has room beside a large one that the peer does not read yet.
        let unread = router.budget.count(frames(BYTES_MAX));
        assert!(slow.send(&router, "peer".into(), frames(1)).await.is_ok());
        router.has_room.store(false, Ordering::Relaxed);
        assert_eq!(unread_after(&slow, &router).await, Duration::ZERO);
        drop(unread);
        router.has_room.store(true, Ordering::Relaxed);
        assert!(slow.send(&router, "peer".into(), frames(1)).await.is_ok());
        router.has_room.store(false, Ordering::Relaxed);
        assert!(unread_after(&slow, &router).await >= PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_waits_longer_for_a_caller_that_reads_but_not_without_end() {
        let (slow, router) = (SlowCallers::default(), FullRouter::new());
        let mut unread: Vec<_> = (0..4).map(|_| router.budget.count(frames(BYTES_MAX))).collect();
        let reads = async {
            while unread.pop().is_some() {
                sleep(PATIENCE / 2).await;
            }
        };
        let (after, ()) = tokio::join!(unread_after(&slow, &router), reads);
        assert!(after > PATIENCE && after < PATIENCE_MAX, "{after:?}");

        let (slow, router) = (SlowCallers::default(), FullRouter::new());
        let reads = async {
            loop {
                drop(router.budget.count(frames(BYTES_MAX)));
                sleep(PATIENCE / 2).await;
            }
        };
        tokio::select! {
            after = unread_after(&slow, &router) => assert!(after >= PATIENCE_MAX),
            () = reads => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn entries_of_disconnected_callers_are_bounded() {
        let (slow, router) = (SlowCallers::default(), FullRouter::new());
        let peers =
            (0..=SlowCallers::MAX as u64).map(|peer| Bytes::copy_from_slice(&peer.to_le_bytes()));
        let all = peers.map(|peer| slow.send(&router, peer, frames(1)));
        futures_util::future::join_all(all).await;
        assert_eq!(lock(&slow.peers).len(), 1);
    }
}
