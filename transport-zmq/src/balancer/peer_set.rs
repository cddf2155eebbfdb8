//! Set of peer connections, and the choice of one for each message.
//!
//! The set is copied on write: each change replaces an `Arc` of a slice, and readers clone that
//! `Arc`. With a single peer, which is the common case, a send holds the lock instead and clones
//! nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::{join_all, select};
use tokio::time::timeout;

use super::in_flight_call::InFlightCall;
use super::peer::{PeerConnection, PeerKind};
use super::peer_message_max::Fit;
use super::shared_state::SharedState;
use crate::engine::Dealer;
use crate::wire::Frames;

/// The peer connections of a balancer.
///
/// Two writers change the set: endpoint changes, one at a time, and the task of inbound peers. That
/// task holds the set weakly, so dropping the balancer ends the task.
pub(super) struct PeerSet {
    /// Replaced as a whole with each change. The lock is never held across an await.
    peers: RwLock<Arc<[Arc<PeerConnection>]>>,
    /// Start of the next round over peers with equal load. Wraps around.
    next: AtomicUsize,
    /// The shared state, which signals each change of the set.
    state: Arc<SharedState>,
}

impl PeerSet {
    /// Creates an empty set.
    pub(super) fn new(state: Arc<SharedState>) -> Arc<Self> {
        Arc::new(Self { peers: RwLock::new(Arc::new([])), next: AtomicUsize::new(0), state })
    }

    /// Returns the current peers, as they are at this moment.
    pub(super) fn all(&self) -> Arc<[Arc<PeerConnection>]> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the listening peer, or the inbound peer of a connection. There is at most one.
    pub(super) fn find(&self, kind: PeerKind) -> Option<Arc<PeerConnection>> {
        self.all().iter().find(|peer| peer.kind() == kind).cloned()
    }

    /// Returns the peer that connects to this endpoint, in its canonical form.
    pub(super) fn connecting_to(&self, endpoint: &str) -> Option<Arc<PeerConnection>> {
        self.all()
            .iter()
            .find(|peer| peer.kind() == PeerKind::Connecting && **peer.name() == *endpoint)
            .cloned()
    }

    /// Returns whether any peer is connected.
    pub(super) fn is_any_live(&self) -> bool {
        self.all().iter().any(|peer| peer.is_live())
    }

    /// Returns whether a peer is connected that may get this request.
    pub(super) fn has_peer_for(&self, call: &InFlightCall) -> bool {
        self.all().iter().any(|peer| peer.may_get(call))
    }

    /// Sends a message to a peer that has room, or returns the frames.
    ///
    /// With a single peer the request is not kept for another one, and only an idempotent call is
    /// cloned.
    pub(super) fn try_send(&self, call: &InFlightCall, frames: Frames) -> Result<(), Frames> {
        {
            let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
            if let [peer] = &**peers
                && peer.may_get(call)
                && peer.bound.fit(&frames) == Fit::Fits
            {
                return peer.try_send(call.clone().sent_to(peer.number(), &frames, false), frames);
            }
        }
        self.try_send_balanced(call, frames)
    }

    /// Sends a message to one of the peers that may get it, or returns the frames.
    ///
    /// Peers that refuse calls come last. Otherwise, the peer with the fewest calls comes first,
    /// and peers with equal load take turns. A peer without room is skipped. Each peer gets at most
    /// one attempt.
    ///
    /// A peer that does not accept the size of the message gets none, nor does a peer that may
    /// still state its bound.
    pub(super) fn try_send_balanced(
        &self,
        call: &InFlightCall,
        mut frames: Frames,
    ) -> Result<(), Frames> {
        let peers = self.all();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let (before, from) = peers.split_at(start.checked_rem(peers.len()).unwrap_or(0));
        let may_get = |peer: &&Arc<PeerConnection>| {
            peer.may_get(call) && peer.bound.fit(&frames) == Fit::Fits
        };
        let mut candidates: Vec<_> = from.iter().chain(before).filter(may_get).collect();
        // A stable sort, which keeps the turns of peers with equal load.
        candidates.sort_by_cached_key(|peer| (peer.is_refusing(), peer.load()));
        for peer in candidates {
            // The request is kept, because another peer can get it if this one refuses.
            let call = call.clone().sent_to(peer.number(), &frames, true);
            match peer.try_send(call, frames) {
                Ok(()) => return Ok(()),
                Err(unsent) => frames = unsent,
            }
        }
        Err(frames)
    }

    /// Adds a new peer connection, with the lowest number that no peer of the set has.
    pub(super) fn add(
        &self,
        name: String,
        kind: PeerKind,
        dealer: Arc<dyn Dealer>,
    ) -> Arc<PeerConnection> {
        self.replace(|peers, state| {
            let number = unused_number(peers);
            let peer = PeerConnection::new(name, number, kind, dealer, state.clone());
            peers.push(peer.clone());
            peer
        })
    }

    /// Replaces the set of peers by a changed copy, and signals the change. Returns the result of
    /// `change`.
    ///
    /// `change` also gets the shared state, for new connections. It runs under the lock of the set,
    /// and must not use the set. Numbers are chosen there, so that two peers never have the same.
    pub(super) fn replace<R>(
        &self,
        change: impl FnOnce(&mut Vec<Arc<PeerConnection>>, &Arc<SharedState>) -> R,
    ) -> R {
        let result = {
            let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
            let mut changed = peers.to_vec();
            let result = change(&mut changed, &self.state);
            *peers = changed.into();
            result
        };
        self.state.notify_set_changed();
        result
    }

    /// Waits until each peer is connected or known to be unreachable, but no longer than `max`. So
    /// the first messages are balanced over all of them.
    pub(super) async fn connected(&self, max: Duration) {
        let peers = self.all();
        let connected = peers.iter().map(|peer| self.connected_or_tried(peer));
        // A peer that connects later joins then.
        let _ = timeout(max, join_all(connected)).await;
    }

    /// Waits until a peer is connected, or its first attempt has ended. Returns at once for a peer
    /// that connects to this side, which may happen at any time.
    async fn connected_or_tried(&self, peer: &PeerConnection) {
        if peer.kind() != PeerKind::Connecting {
            return;
        }
        let connected = async {
            loop {
                let changed = self.state.changed();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if peer.is_live() {
                    return;
                }
                changed.await;
            }
        };
        let tried = peer.tried();
        tokio::pin!(connected, tried);
        select(connected, tried).await;
    }
}

/// Returns the lowest number that no peer has: only the numbers below 64 are recorded as tried.
fn unused_number(peers: &[Arc<PeerConnection>]) -> usize {
    (0..).find(|number| peers.iter().all(|peer| peer.number() != *number)).unwrap_or(usize::MAX)
}
