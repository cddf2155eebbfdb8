//! Batches of each peer: replies that leave together, and requests that arrive together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::engine::RequestOrigin;
use crate::lock::lock;
use crate::wire::{self, Batch, Frames, Unbatched};

/// The replies of each peer that reads batches, until the tasks that are ready have run.
///
/// Replies to a peer whose last message was a batch leave in batches, too. So a lone call is
/// answered at once, and a peer that states no bound never gets a batch.
pub(super) struct PeerBatches {
    /// The largest batch in bytes that is sent; 0 for none.
    batch_max: usize,
    /// The peers, locked for each message and each small reply once a peer reads batches.
    peers: Mutex<Peers>,
    /// Copy of the number of peers, read for each message without the lock.
    count: AtomicUsize,
    /// Signals a batch that is not empty.
    is_filled: Notify,
}

/// The peers that read batches, by routing id.
#[derive(Default)]
struct Peers {
    /// At most [`PEERS_MAX`](PeerBatches::PEERS_MAX), unless more peers have a waiting batch.
    by_id: FxHashMap<Bytes, Peer>,
    /// The peers whose batch is not empty.
    filled: Vec<Bytes>,
}

/// A peer that has stated, in its question, the largest batch that it reads.
struct Peer {
    /// The largest batch in bytes for this peer.
    max: usize,
    /// Set if the last message of the peer was a batch.
    is_busy: bool,
    /// Replies in batches that wait for room at the peer. While there are some, later replies wait
    /// by themselves, each in its place of the window.
    blocked: usize,
    /// The replies that wait until the tasks that are ready have run, in the order of their sends.
    batch: Batch,
}

/// A batch that leaves now.
pub(super) struct DueBatch {
    /// The routing id of the peer.
    pub(super) peer: Bytes,
    /// The replies, as one message.
    pub(super) frames: Frames,
    /// The number of replies, which count as sent.
    pub(super) replies: usize,
}

impl PeerBatches {
    /// Peers that are remembered: 10,000. Those that are gone stay. So beyond this number, all
    /// without a waiting batch are forgotten, and get single replies until they connect again.
    const PEERS_MAX: usize = 10_000;

    /// Creates an empty set. `batch_max` is 0 if no batch is sent.
    pub(super) fn new(batch_max: usize) -> Self {
        let (peers, count, is_filled) = (Mutex::default(), AtomicUsize::new(0), Notify::new());
        Self { batch_max, peers, count, is_filled }
    }

    /// Splits the batches among received messages, in their order. Notes which peers read batches,
    /// and which of them send some. Questions are passed on, since they have to be answered.
    pub(super) fn split(
        self: &Arc<Self>,
        messages: BoxStream<'static, (RequestOrigin, Frames)>,
    ) -> BoxStream<'static, (RequestOrigin, Frames)> {
        let batches = self.clone();
        let note = move |origin: &RequestOrigin, frames: &Frames, is_batch| {
            if let Some(stated) = wire::asked_bounds(frames) {
                batches.note_bound(&origin.address, stated.batch_max);
            }
            batches.note_received(&origin.address, is_batch);
        };
        Unbatched::new(messages, note).boxed()
    }

    /// Adds a reply to the batch of its peer, or returns the reply, which has to leave alone: the
    /// peer has few calls in flight, or its batch is full.
    ///
    /// A placed reply counts as sent. If the peer disconnects, or does not read in time, the reply
    /// is lost without an error.
    pub(super) fn place(&self, peer: &Bytes, frames: Frames) -> Result<(), Frames> {
        if self.count.load(Ordering::Relaxed) == 0 || !Batch::may_hold(&frames) {
            return Err(frames);
        }
        let mut peers = self.peers();
        let Peers { by_id, filled } = &mut *peers;
        let open = by_id.get_mut(peer).filter(|peer| peer.is_busy && peer.blocked == 0);
        let Some(Peer { batch, .. }) = open.filter(|peer| peer.batch.has_room(&frames, peer.max))
        else {
            return Err(frames);
        };
        if batch.is_empty() {
            filled.push(peer.clone());
            self.is_filled.notify_one();
        }
        batch.push(&frames);
        Ok(())
    }

    /// Records that a batch of this number of replies waits for room at a peer.
    pub(super) fn block(&self, peer: &Bytes, replies: usize) {
        if let Some(peer) = self.peers().by_id.get_mut(peer) {
            peer.blocked += replies;
        }
    }

    /// Records that such a batch waits no longer.
    pub(super) fn unblock(&self, peer: &Bytes, replies: usize) {
        if let Some(peer) = self.peers().by_id.get_mut(peer) {
            peer.blocked = peer.blocked.saturating_sub(replies);
        }
    }

    /// Waits for a batch, and until the tasks that are ready have run. Returns all batches, each
    /// with its peer. The list may be empty, if [`end`](Self::end) came first.
    ///
    /// Keep the future: one that is dropped may have taken the signal of a batch.
    pub(super) async fn next(&self) -> Vec<DueBatch> {
        self.is_filled.notified().await;
        yield_now().await;
        self.take()
    }

    /// Takes all batches.
    fn take(&self) -> Vec<DueBatch> {
        self.peers().take()
    }

    /// Takes all batches, and the number of replies that wait for room at each peer. Forgets all
    /// peers, so that later replies leave alone.
    pub(super) fn end(&self) -> (Vec<DueBatch>, Vec<(Bytes, usize)>) {
        let mut peers = self.peers();
        let batches = peers.take();
        let Peers { by_id, .. } = std::mem::take(&mut *peers);
        self.count.store(0, Ordering::Relaxed);
        let blocked = by_id.into_iter().map(|(id, peer)| (id, peer.blocked));
        (batches, blocked.filter(|(_, blocked)| *blocked > 0).collect())
    }

    /// Records the largest batch in bytes that a peer reads; `None` if it reads none. A new peer
    /// that reads none is not remembered.
    fn note_bound(&self, peer: &Bytes, batch_max: Option<u64>) {
        let stated = batch_max.map_or(0, |max| usize::try_from(max).unwrap_or(usize::MAX));
        let max = stated.min(self.batch_max);
        let mut peers = self.peers();
        if let Some(known) = peers.by_id.get_mut(peer) {
            known.max = max;
        } else if max > 0 {
            if peers.by_id.len() >= Self::PEERS_MAX {
                peers.by_id.retain(|_, peer| !peer.batch.is_empty() || peer.blocked > 0);
            }
            let (is_busy, blocked, batch) = (false, 0, Batch::default());
            peers.by_id.insert(peer.clone(), Peer { max, is_busy, blocked, batch });
        }
        self.count.store(peers.by_id.len(), Ordering::Relaxed);
    }

    /// Records whether the last message of a peer was a batch.
    fn note_received(&self, peer: &Bytes, was_batch: bool) {
        if self.count.load(Ordering::Relaxed) > 0
            && let Some(peer) = self.peers().by_id.get_mut(peer)
        {
            peer.is_busy = was_batch;
        }
    }

    fn peers(&self) -> MutexGuard<'_, Peers> {
        lock(&self.peers)
    }
}

impl Peers {
    /// Takes all batches.
    fn take(&mut self) -> Vec<DueBatch> {
        let filled = std::mem::take(&mut self.filled);
        let taken = filled.into_iter().filter_map(|peer| {
            let batch = &mut self.by_id.get_mut(&peer)?.batch;
            let replies = batch.len();
            (replies > 0).then(|| DueBatch { peer, frames: batch.take(), replies })
        });
        taken.collect()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};

    use super::*;
    use crate::wire::{Batched, StatedBounds};

    fn origin(peer: &'static str) -> RequestOrigin {
        RequestOrigin { address: peer.into(), identity: None }
    }

    fn message(head: &'static str) -> Frames {
        Frames { head: head.into(), body: None }
    }

    /// A batch of two messages.
    fn pair() -> Frames {
        let mut batch = Batch::default();
        batch.push(&message("one"));
        batch.push(&message("two"));
        batch.take()
    }

    fn question(batch_max: Option<u64>) -> Frames {
        wire::bound_question(StatedBounds { message_max: None, batch_max })
    }

    /// Lets the peers `a` and `b` send these messages. Returns the number of messages that arrive.
    fn received(batches: &Arc<PeerBatches>, messages: Vec<(&'static str, Frames)>) -> usize {
        let messages = messages.into_iter().map(|(peer, frames)| (origin(peer), frames));
        let split = batches.split(stream::iter(messages.collect::<Vec<_>>()).boxed());
        split.count().now_or_never().unwrap()
    }

    #[test]
    fn replies_are_joined_as_the_requests_of_their_peer_are() {
        let batches = Arc::new(PeerBatches::new(1000));
        let place = |peer: &'static str| batches.place(&peer.into(), message("reply"));
        assert!(place("a").is_err(), "an unknown peer");
        assert_eq!(received(&batches, vec![("a", question(Some(500))), ("b", question(None))]), 2);
        assert!(place("a").is_err(), "a lone call");
        assert_eq!(received(&batches, vec![("a", pair()), ("b", pair())]), 4);
        assert!(place("a").is_ok() && place("a").is_ok());
        assert!(place("b").is_err(), "a peer that reads no batches");
        let taken = batches.take();
        assert_eq!((taken.len(), taken[0].replies), (1, 2));
        assert_eq!(Batched::new(taken[0].frames.clone()).count(), 2);
        assert!(batches.take().is_empty());
        batches.block(&"a".into(), 2);
        assert!(place("a").is_err(), "a batch waits for room");
        batches.unblock(&"a".into(), 2);
        assert!(place("a").is_ok());
        assert_eq!(received(&batches, vec![("a", question(None))]), 1);
        assert_eq!(batches.take().len(), 1, "what was placed leaves");
        assert_eq!(received(&batches, vec![("a", message("lone"))]), 1);
        assert!(place("a").is_err(), "the load is over");
    }

    #[test]
    fn reply_that_does_not_fit_leaves_alone() {
        let batches = Arc::new(PeerBatches::new(1000));
        received(&batches, vec![("a", question(Some(38))), ("a", pair())]);
        let place = |reply: &'static str| batches.place(&"a".into(), message(reply));
        assert!(place("12345").is_ok() && place("12345").is_ok());
        assert_eq!(place("x"), Err(message("x")));
        assert_eq!(Batched::new(batches.take()[0].frames.clone()).count(), 2);
        let large = Frames { head: vec![0; 39].into(), body: None };
        assert!(batches.place(&"a".into(), large).is_err());
    }
}
