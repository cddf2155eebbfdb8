//! A serving socket that holds so many bytes of large messages for each of its peers, and no more.

use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use polywire_core::Result;
use polywire_core::transport::Sending;
use rustc_hash::FxHashMap;

use super::freight::Freight;
use super::{Peer, Ports, Router};
use crate::endpoint::EndpointChange;
use crate::error::lock;
use crate::wire::Frames;

pub(super) struct Rationed {
    router: Arc<dyn Router>,
    bytes_max: usize,
    peers: Mutex<Peers>,
}

/// Those for whom something large lies in the socket, and some for whom something did.
#[derive(Default)]
struct Peers {
    freights: FxHashMap<Bytes, Weak<Freight>>,
    prune_at: usize,
}

impl Rationed {
    pub(super) fn new(router: Arc<dyn Router>, bytes_max: usize) -> Self {
        Self { router, bytes_max, peers: Mutex::default() }
    }
}

impl Peers {
    const PRUNE_MIN: usize = 64;

    fn find(&self, peer: &Bytes) -> Option<Arc<Freight>> {
        if self.freights.is_empty() { None } else { self.freights.get(peer)?.upgrade() }
    }

    fn enter(&mut self, peer: Bytes, bytes_max: usize) -> Arc<Freight> {
        if self.freights.len() >= self.prune_at.max(Self::PRUNE_MIN) {
            self.freights.retain(|_, freight| freight.strong_count() > 0);
            self.prune_at = self.freights.len() * 2;
        }
        let freight = Freight::new(bytes_max);
        self.freights.insert(peer, Arc::downgrade(&freight));
        freight
    }
}

impl Ports for Rationed {
    fn change<'a>(&'a self, change: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
        self.router.change(change)
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.router.close()
    }
}

impl Router for Rationed {
    fn send(&self, peer: Bytes, frames: Frames) -> Sending<'_> {
        // What is small is bounded by the number that the engine holds, and does not wait for what
        // is large.
        if Freight::is_light_for(self.bytes_max, &frames) {
            return self.router.send(peer, frames);
        }
        let freight = {
            let mut peers = lock(&self.peers);
            peers.find(&peer).unwrap_or_else(|| peers.enter(peer.clone(), self.bytes_max))
        };
        if !freight.is_full() {
            return self.router.send(peer, freight.load(frames));
        }
        Sending::later(async move {
            // It is full until the peer has read, and bounded by those who wait. When the peer is
            // gone, the engine drops what it holds for it, and this goes on to hear of
            // it.
            freight.room().await;
            self.router.send(peer, freight.load(frames)).await
        })
    }

    fn freight(&self, peer: &Bytes) -> Option<Arc<Freight>> {
        lock(&self.peers).find(peer)
    }

    fn requests(&self) -> BoxStream<'static, (Peer, Frames)> {
        self.router.requests()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};
    use polywire_core::Body;

    use super::*;

    /// A socket that keeps what it is to send.
    #[derive(Default)]
    struct Keeping(Mutex<Vec<(Bytes, Frames)>>);

    impl Ports for Keeping {
        fn change<'a>(&'a self, _: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
            std::future::ready(Ok(None)).boxed()
        }

        fn close(&self) -> BoxFuture<'static, ()> {
            std::future::ready(()).boxed()
        }
    }

    impl Router for Keeping {
        fn send(&self, peer: Bytes, frames: Frames) -> Sending<'_> {
            lock(&self.0).push((peer, frames));
            Sending::ready(Ok(()))
        }

        fn requests(&self) -> BoxStream<'static, (Peer, Frames)> {
            stream::empty().boxed()
        }
    }

    fn frames(size: usize) -> Frames {
        Frames { head: Bytes::new(), body: Some(Body::from(vec![0; size])) }
    }

    #[test]
    fn large_replies_to_one_wait_for_it_and_neither_small_ones_nor_those_to_others_do() {
        let keeping = Arc::new(Keeping::default());
        let router = Rationed::new(keeping.clone(), 10_000);
        let send = |peer: &'static str, size| router.send(peer.into(), frames(size));
        assert!(send("slow", 10_000).now_or_never().is_some());
        let [mut large, mut larger] = [send("slow", 10_000), send("slow", 20_000)];
        assert!((&mut large).now_or_never().is_none() && (&mut larger).now_or_never().is_none());
        assert!(send("slow", 1).now_or_never().is_some());
        assert!(router.freight(&"slow".into()).unwrap().is_full());
        assert!(send("other", 9_000).now_or_never().is_some());
        assert!(send("other", 9_000).now_or_never().is_some());
        let held = std::mem::take(&mut *lock(&keeping.0));
        assert_eq!(
            held.iter().map(|(peer, _)| &**peer).collect::<Vec<_>>(),
            [&b"slow"[..], b"slow", b"other", b"other"]
        );
        drop(held);
        assert!(large.now_or_never().is_some());
        // It is full again.
        assert!((&mut larger).now_or_never().is_none());
        lock(&keeping.0).clear();
        assert!(larger.now_or_never().is_some());
        lock(&keeping.0).clear();
        assert!(router.freight(&"slow".into()).is_none());
    }

    #[test]
    fn peers_that_are_gone_are_forgotten() {
        let keeping = Arc::new(Keeping::default());
        let router = Rationed::new(keeping.clone(), 10_000);
        for peer in 0..10_000_u32 {
            let peer = Bytes::copy_from_slice(&peer.to_be_bytes());
            assert!(router.send(peer, frames(10_000)).now_or_never().is_some());
            lock(&keeping.0).clear();
        }
        assert!(lock(&router.peers).freights.len() <= 2 * Peers::PRUNE_MIN);
    }
}
