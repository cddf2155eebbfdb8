//! A ROUTER socket with a byte budget for each peer, over a socket of any engine.
//!
//! A budget exists only while the peer has large messages unsent: the frames hold it, and the table
//! here holds a weak reference. So peers that come and go leave nothing behind but stale entries,
//! which are removed at each doubling of the table.

use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use polywire_core::Result;
use polywire_core::transport::Sending;
use rustc_hash::FxHashMap;

use super::ByteBudget;
use super::socket::{RequestOrigin, Router, SocketControl};
use crate::endpoint::{EndpointChange, RefusingPeers};
use crate::lock::lock;
use crate::wire::Frames;

/// A router that bounds the unsent bytes of large messages for each peer. A large message waits
/// while the budget of its peer is used up. Meanwhile small messages to the same peer and all
/// messages to other peers are sent.
pub(super) struct SendBudgetedRouter {
    /// The socket that sends.
    router: Arc<dyn Router>,
    /// The bound for each peer.
    peer_bytes_max: usize,
    /// The budgets of all peers. Locked for a lookup only, never while a message is sent.
    budgets: Mutex<PeerBudgets>,
}

/// The budgets of peers that have unsent large messages, and some stale ones.
#[derive(Default)]
struct PeerBudgets {
    /// The budgets by routing id. A weak reference is stale when the peer has read everything.
    by_peer: FxHashMap<Bytes, Weak<ByteBudget>>,
    /// Number of entries at which stale ones are removed: twice the number after the last time.
    prune_at: usize,
}

impl SendBudgetedRouter {
    /// Wraps a router. `peer_bytes_max` is the bound for each peer.
    pub(super) fn new(router: Arc<dyn Router>, peer_bytes_max: usize) -> Self {
        Self { router, peer_bytes_max, budgets: Mutex::default() }
    }
}

impl PeerBudgets {
    /// Entries below which none is looked through for stale ones: 64.
    const PRUNE_MIN: usize = 64;

    /// Returns the budget of a peer, if it has large messages unsent.
    ///
    /// `None` stands for a peer without an entry, or with a stale one.
    fn find(&self, peer: &Bytes) -> Option<Arc<ByteBudget>> {
        if self.by_peer.is_empty() { None } else { self.by_peer.get(peer)?.upgrade() }
    }

    /// Creates the budget of a peer, and removes stale entries now and then.
    fn create(&mut self, peer: Bytes, max: usize) -> Arc<ByteBudget> {
        if self.by_peer.len() >= self.prune_at.max(Self::PRUNE_MIN) {
            self.by_peer.retain(|_, budget| budget.strong_count() > 0);
            self.prune_at = self.by_peer.len() * 2;
        }
        let budget = ByteBudget::new(max);
        self.by_peer.insert(peer, Arc::downgrade(&budget));
        budget
    }
}

#[async_trait]
impl SocketControl for SendBudgetedRouter {
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>> {
        self.router.change(change).await
    }

    fn peer_counts(&self) -> BoxStream<'static, usize> {
        self.router.peer_counts()
    }

    fn refusals(&self) -> RefusingPeers {
        self.router.refusals()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.router.close()
    }
}

#[async_trait]
impl Router for SendBudgetedRouter {
    /// Sends a message, a large one after waiting for the budget of its peer. Sends that wait for
    /// one budget are woken together, and may exceed the bound by one message each. The windows of
    /// the responders bound their number.
    fn send(&self, peer: Bytes, frames: Frames) -> Sending<'_> {
        // The engine bounds small messages by number. They do not wait for large ones.
        if ByteBudget::is_small_for(self.peer_bytes_max, &frames) {
            return self.router.send(peer, frames);
        }
        let budget = {
            let mut budgets = lock(&self.budgets);
            budgets.find(&peer).unwrap_or_else(|| budgets.create(peer.clone(), self.peer_bytes_max))
        };
        if !budget.is_exhausted() {
            return self.router.send(peer, budget.count(frames));
        }
        Sending::later(async move {
            // If the peer disconnects, the engine drops its messages, which ends this wait; then
            // the send returns the error.
            budget.available().await;
            self.router.send(peer, budget.count(frames)).await
        })
    }

    /// Returns the budget of a peer while a counted frame or a waiting send holds it.
    fn budget(&self, peer: &Bytes) -> Option<Arc<ByteBudget>> {
        lock(&self.budgets).find(peer)
    }

    async fn stop_listening(&self) {
        self.router.stop_listening().await;
    }

    async fn peers(&self) -> Vec<Bytes> {
        self.router.peers().await
    }

    fn requests(&self) -> BoxStream<'static, (RequestOrigin, Frames)> {
        self.router.requests()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};
    use polywire_core::Body;

    use super::*;

    /// A socket that holds each message instead of sending it.
    #[derive(Default)]
    struct HoldingRouter(Mutex<Vec<(Bytes, Frames)>>);

    #[async_trait]
    impl SocketControl for HoldingRouter {
        async fn change(&self, _: &EndpointChange) -> Result<Option<String>> {
            Ok(None)
        }

        fn close(&self) -> BoxFuture<'static, ()> {
            std::future::ready(()).boxed()
        }
    }

    impl Router for HoldingRouter {
        fn send(&self, peer: Bytes, frames: Frames) -> Sending<'_> {
            lock(&self.0).push((peer, frames));
            Sending::ready(Ok(()))
        }

        fn requests(&self) -> BoxStream<'static, (RequestOrigin, Frames)> {
            stream::empty().boxed()
        }
    }

    fn frames(size: usize) -> Frames {
        Frames { head: Bytes::new(), body: Some(Body::from(vec![0; size])) }
    }

    #[test]
    fn a_large_reply_waits_for_a_slow_peer_and_holds_up_no_small_one_and_no_other_peer() {
        let holding = Arc::new(HoldingRouter::default());
        let router = SendBudgetedRouter::new(holding.clone(), 10_000);
        let send = |peer: &'static str, size| router.send(peer.into(), frames(size));
        assert!(send("slow", 10_000).now_or_never().is_some());
        let [mut large, mut larger] = [send("slow", 10_000), send("slow", 20_000)];
        assert!((&mut large).now_or_never().is_none() && (&mut larger).now_or_never().is_none());
        assert!(send("slow", 1).now_or_never().is_some());
        assert!(router.budget(&"slow".into()).unwrap().is_exhausted());
        assert!(send("other", 9_000).now_or_never().is_some());
        assert!(send("other", 9_000).now_or_never().is_some());
        let held = std::mem::take(&mut *lock(&holding.0));
        assert_eq!(
            held.iter().map(|(peer, _)| &**peer).collect::<Vec<_>>(),
            [&b"slow"[..], b"slow", b"other", b"other"]
        );
        drop(held);
        assert!(large.now_or_never().is_some());
        // The first large reply has used up the budget again.
        assert!((&mut larger).now_or_never().is_none());
        lock(&holding.0).clear();
        assert!(larger.now_or_never().is_some());
        lock(&holding.0).clear();
        assert!(router.budget(&"slow".into()).is_none());
    }

    #[test]
    fn budgets_of_disconnected_peers_are_removed() {
        let holding = Arc::new(HoldingRouter::default());
        let router = SendBudgetedRouter::new(holding.clone(), 10_000);
        for peer in 0..10_000_u32 {
            let peer = Bytes::copy_from_slice(&peer.to_be_bytes());
            assert!(router.send(peer, frames(10_000)).now_or_never().is_some());
            lock(&holding.0).clear();
        }
        assert!(lock(&router.budgets).by_peer.len() <= 2 * PeerBudgets::PRUNE_MIN);
    }
}
