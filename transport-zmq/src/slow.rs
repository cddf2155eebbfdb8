//! Callers that do not read their replies. No I/O.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use polywire_core::transport::Sending;
use polywire_core::{Error, ErrorKind, Result};
use rustc_hash::FxHashSet;
use tokio::time::{Instant, timeout_at};

use crate::engine::Router;
use crate::error::lock;
use crate::wire::Frames;

/// Who had no room for a reply for as long as one waits.
///
/// A reply that waits for room keeps its place in the window, and so other callers from being
/// served. So the first ones wait, in case their caller is only slow, and those that follow do not,
/// until the caller has read.
#[derive(Default)]
pub(crate) struct Mute(Mutex<FxHashSet<Bytes>>);

impl Mute {
    /// Those that are known. Who is gone stays in it, so it is emptied when there are more; who is
    /// mute still is found to be so again.
    const MAX: usize = 10_000;

    /// Hands a reply over, waiting for room if need be, and if its caller is not known to be mute.
    pub(crate) fn send<'a>(
        &'a self,
        router: &'a dyn Router,
        peer: Bytes,
        frames: Frames,
    ) -> Sending<'a> {
        let is_mute = self.is_mute(&peer);
        let had_nothing = is_mute && router.freight(&peer).is_none();
        let mut sending = router.send(peer.clone(), frames);
        match (&mut sending).now_or_never() {
            Some(sent) => {
                // What is small has room beside what is large, so that it has some says nothing.
                if is_mute && (had_nothing || !is_full(router, &peer)) {
                    lock(&self.0).remove(&peer);
                }
                Sending::ready(sent)
            }
            None if is_mute => Sending::ready(Err(unread())),
            None => Sending::later(self.wait(router, peer, sending)),
        }
    }

    /// What a reply comes to that has to wait for room.
    async fn wait(&self, router: &dyn Router, peer: Bytes, mut sending: Sending<'_>) -> Result<()> {
        let lightened = || router.freight(&peer).map_or(0, |freight| freight.lightened());
        let end = Instant::now() + PATIENCE_MAX;
        loop {
            let (before, give_up) = (lightened(), end.min(Instant::now() + PATIENCE));
            if let Ok(sent) = timeout_at(give_up, &mut sending).await {
                return sent;
            }
            // One that takes its time for what is large does read.
            if lightened() == before || give_up == end {
                break;
            }
        }
        let mut peers = lock(&self.0);
        if peers.len() >= Self::MAX {
            peers.clear();
        }
        peers.insert(peer);
        Err(unread())
    }

    fn is_mute(&self, peer: &Bytes) -> bool {
        let peers = lock(&self.0);
        !peers.is_empty() && peers.contains(peer)
    }
}

/// Whether so many bytes lie in a socket for a peer that what is large waits.
pub(crate) fn is_full(router: &dyn Router, peer: &Bytes) -> bool {
    router.freight(peer).is_some_and(|freight| freight.is_full())
}

/// How long a reply waits for its caller to read any of those before.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits for one that reads so little that there is no room: others wait for its place.
const PATIENCE_MAX: Duration = Duration::from_mins(1);

fn unread() -> Error {
    Error::new(ErrorKind::Unroutable, "the caller does not read its replies")
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures_core::future::BoxFuture;
    use futures_core::stream::BoxStream;
    use futures_util::{StreamExt, stream};
    use tokio::time::sleep;

    use super::*;
    use crate::endpoint::EndpointChange;
    use crate::engine::{Freight, Peer, Ports};

    /// A socket that has room or not, and counts so many bytes for whoever it is.
    struct Narrow {
        has_room: AtomicBool,
        freight: Arc<Freight>,
    }

    impl Narrow {
        fn new() -> Self {
            Self { has_room: AtomicBool::new(false), freight: Freight::new(BYTES_MAX) }
        }
    }

    const BYTES_MAX: usize = 10_000;

    impl Ports for Narrow {
        fn change<'a>(&'a self, _: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
            ready(Ok(None)).boxed()
        }

        fn close(&self) -> BoxFuture<'static, ()> {
            ready(()).boxed()
        }
    }

    impl Router for Narrow {
        fn send(&self, _: Bytes, _: Frames) -> Sending<'_> {
            match self.has_room.load(Ordering::Relaxed) {
                true => Sending::ready(Ok(())),
                false => Sending::later(pending()),
            }
        }

        fn freight(&self, _: &Bytes) -> Option<Arc<Freight>> {
            Some(self.freight.clone())
        }

        fn requests(&self) -> BoxStream<'static, (Peer, Frames)> {
            stream::empty().boxed()
        }
    }

    fn frames(size: usize) -> Frames {
        Frames { head: vec![0; size].into(), body: None }
    }

    /// How long it takes to hear that a reply is not read.
    async fn unread_after(mute: &Mute, narrow: &Narrow) -> Duration {
        let begun = Instant::now();
        let error = mute.send(narrow, "peer".into(), frames(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unroutable);
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn replies_wait_for_a_caller_once_and_again_after_it_has_read() {
        let (mute, narrow) = (Mute::default(), Narrow::new());
        assert!(unread_after(&mute, &narrow).await >= PATIENCE);
        assert_eq!(unread_after(&mute, &narrow).await, Duration::ZERO);
        narrow.has_room.store(true, Ordering::Relaxed);
        assert!(mute.send(&narrow, "other".into(), frames(1)).await.is_ok());
        // What is small has room beside what is large, which it does not read yet.
        let unread = narrow.freight.load(frames(BYTES_MAX));
        assert!(mute.send(&narrow, "peer".into(), frames(1)).await.is_ok());
        narrow.has_room.store(false, Ordering::Relaxed);
        assert_eq!(unread_after(&mute, &narrow).await, Duration::ZERO);
        drop(unread);
        narrow.has_room.store(true, Ordering::Relaxed);
        assert!(mute.send(&narrow, "peer".into(), frames(1)).await.is_ok());
        narrow.has_room.store(false, Ordering::Relaxed);
        assert!(unread_after(&mute, &narrow).await >= PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_reads_slowly_is_waited_for_longer_and_not_for_ever() {
        let (mute, narrow) = (Mute::default(), Narrow::new());
        let mut unread: Vec<_> = (0..4).map(|_| narrow.freight.load(frames(BYTES_MAX))).collect();
        let reads = async {
            while unread.pop().is_some() {
                sleep(PATIENCE / 2).await;
            }
        };
        let (after, ()) = tokio::join!(unread_after(&mute, &narrow), reads);
        assert!(after > PATIENCE && after < PATIENCE_MAX, "{after:?}");

        let (mute, narrow) = (Mute::default(), Narrow::new());
        let reads = async {
            loop {
                drop(narrow.freight.load(frames(BYTES_MAX)));
                sleep(PATIENCE / 2).await;
            }
        };
        tokio::select! {
            after = unread_after(&mute, &narrow) => assert!(after >= PATIENCE_MAX),
            () = reads => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_are_gone_do_not_pile_up() {
        let (mute, narrow) = (Mute::default(), Narrow::new());
        let peers = (0..=Mute::MAX as u64).map(|peer| Bytes::copy_from_slice(&peer.to_le_bytes()));
        let all = peers.map(|peer| mute.send(&narrow, peer, frames(1)));
        futures_util::future::join_all(all).await;
        assert_eq!(lock(&mute.0).len(), 1);
    }
}
