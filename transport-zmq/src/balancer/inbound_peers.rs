//! Servers that connect to a requester, each with a peer connection of its own.
//!
//! The usual direction is the other one: a requester connects to the endpoints of its servers. If
//! it binds instead, the engine reports which peers are connected, and a task here adds and removes
//! their connections.

use std::sync::{Arc, OnceLock, Weak};

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use rustc_hash::FxHashSet;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::peer::{PeerConnection, PeerKind};
use super::peer_set::PeerSet;
use super::shared_state::PRUNE_INTERVAL;
use crate::engine::{ClientRouter, InboundPeer, SocketControl};
use crate::wire::{Frames, Unbatched};

/// A client router, and the task that keeps the peer set in line with its connections.
///
/// Created with the first endpoint that a requester binds, and kept as long as the balancer. All
/// bound endpoints share the socket.
pub(super) struct InboundPeers {
    /// The ROUTER socket, which also sends to each inbound peer.
    router: Arc<dyn ClientRouter>,
    /// The endpoint that the socket was opened for.
    name: String,
    /// The task of [`start`](Self::start), which holds the socket.
    task: OnceLock<AbortHandle>,
}

impl InboundPeers {
    /// Wraps a socket. `name` is the endpoint that it was opened for.
    pub(super) fn new(router: Arc<dyn ClientRouter>, name: String) -> Self {
        Self { router, name, task: OnceLock::new() }
    }

    /// The endpoint that the socket was opened for, for errors.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The socket, for endpoint changes.
    pub(super) fn socket(&self) -> &dyn SocketControl {
        &*self.router
    }

    /// Returns the messages that arrive, those of a batch one by one, each with the number of its
    /// connection. Called once.
    pub(super) fn replies(&self) -> BoxStream<'static, (u64, Frames)> {
        Unbatched::new(self.router.replies(), |_: &u64, _: &Frames, _| {}).boxed()
    }

    /// Starts the task that updates a peer set, unless it runs already. The task ends when the set
    /// is dropped or the socket is closed. Requires a tokio runtime.
    pub(super) fn start(&self, peers: &Arc<PeerSet>) {
        self.task.get_or_init(|| {
            tokio::spawn(update(Arc::downgrade(peers), self.router.peers())).abort_handle()
        });
    }

    /// Stops the task and closes the socket. The future resolves when the socket has lingered.
    pub(super) fn close(&self) -> BoxFuture<'static, ()> {
        self.stop();
        self.router.close()
    }

    /// Stops the task, which holds the socket.
    pub(super) fn stop(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// Updates a peer set with each change of the connections. Every five seconds, removes expired
/// calls and lets notices to leave grow old, since inbound connections have no supervisor that
/// does.
async fn update(peers: Weak<PeerSet>, mut connected: BoxStream<'static, Vec<InboundPeer>>) {
    let mut prunings = interval_at(Instant::now() + PRUNE_INTERVAL, PRUNE_INTERVAL);
    // A notice to leave is kept for a time, and not for a number of prunings in a row.
    prunings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = tokio::select! {
            next = connected.next() => Some(next),
            _ = prunings.tick() => None,
        };
        let Some(peers) = peers.upgrade() else { return };
        match next {
            Some(Some(connected)) => replace_inbound(&peers, connected),
            Some(None) => return,
            None => peers.all().iter().for_each(|peer| peer.prune()),
        }
    }
}

/// Adds the new peers to a set, and removes those that are not connected any more.
///
/// The removed peers are marked as lost first, which fails their calls, and then leave the set: a
/// call that is abandoned meanwhile is found at its peer, or among the calls to be sent again. New
/// peers are in the set before they are marked as connected, which wakes the senders that wait for
/// a peer.
///
/// Each new peer gets the lowest number that no peer of the set has.
fn replace_inbound(peers: &PeerSet, connected: Vec<InboundPeer>) {
    let ids: FxHashSet<u64> = connected.iter().map(|peer| peer.connection).collect();
    let is_gone =
        |peer: &PeerConnection| matches!(peer.kind(), PeerKind::Inbound(id) if !ids.contains(&id));
    // Before the lock of the set, by the order of locks.
    peers.all().iter().filter(|peer| is_gone(peer)).for_each(|peer| _ = peer.set_lost());
    let mut added = Vec::new();
    peers.replace(|peers, state| {
        peers.retain(|peer| !is_gone(peer));
        let known: FxHashSet<PeerKind> = peers.iter().map(|peer| peer.kind()).collect();
        let numbers: FxHashSet<usize> = peers.iter().map(|peer| peer.number()).collect();
        let mut unused = (0..).filter(|number| !numbers.contains(number));
        for InboundPeer { connection, name, dealer } in connected {
            let kind = PeerKind::Inbound(connection);
            if known.contains(&kind) {
                continue;
            }
            let number = unused.next().unwrap_or(usize::MAX);
            added.push(PeerConnection::new(name, number, kind, dealer, state.clone()));
        }
        peers.extend_from_slice(&added);
    });
    for peer in &added {
        peer.log_inbound();
        peer.set_connected();
    }
}

#[cfg(all(test, feature = "engine-omq"))]
#[allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;
    use polywire_core::message::CallId;
    use tokio::time::sleep;

    use super::*;
    use crate::balancer::in_flight_call::InFlightCall;
    use crate::balancer::resends::Resends;
    use crate::balancer::shared_state::SharedState;
    use crate::config::ZmqBuilder;
    use crate::endpoint::{Endpoint, TransportHealth};
    use crate::engine::{self, Dealer, Traffic};

    /// Returns an empty set, and a socket for all its peers.
    fn peer_set() -> (Arc<PeerSet>, Arc<dyn Dealer>) {
        let endpoint = "tcp://127.0.0.1:1";
        let (settings, _) = ZmqBuilder::new().connect(endpoint).settings().unwrap();
        let endpoint = Endpoint::parse(endpoint).unwrap();
        let dealer = engine::connect_dealer(&settings, &Traffic::Requests, &endpoint).unwrap();
        let state = SharedState::new(&settings, Resends::new(None), TransportHealth::default());
        (PeerSet::new(state), dealer)
    }

    fn inbound(connection: u64, dealer: &Arc<dyn Dealer>) -> InboundPeer {
        InboundPeer { connection, name: format!("peer {connection}"), dealer: dealer.clone() }
    }

    #[tokio::test(start_paused = true)]
    async fn notice_to_leave_is_forgotten_while_other_peers_come_and_go() {
        let (peers, dealer) = peer_set();
        let changes = stream::iter(1_u64..).then(move |other| {
            let connected = vec![inbound(0, &dealer), inbound(other, &dealer)];
            async move {
                sleep(PRUNE_INTERVAL / 5).await;
                connected
            }
        });
        let updating = tokio::spawn(update(Arc::downgrade(&peers), changes.boxed()));
        sleep(PRUNE_INTERVAL).await;
        let peer = peers.find(PeerKind::Inbound(0)).unwrap();
        let call = InFlightCall::new(None, None, false);
        assert!(peer.may_get(&call));
        peer.record_leave(Some(CallId(1)), Frames { head: Bytes::new(), body: None });
        assert!(!peer.may_get(&call));
        sleep(4 * PRUNE_INTERVAL).await;
        assert!(peer.may_get(&call));
        updating.abort();
    }

    #[tokio::test]
    async fn peers_that_are_added_at_the_same_time_have_different_numbers() {
        const PEERS: u64 = 200;
        let (peers, dealer) = peer_set();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..PEERS {
                    peers.add("server".to_owned(), PeerKind::Connecting, dealer.clone());
                }
            });
            for count in 1..=PEERS {
                let connected = (0..count).map(|connection| inbound(connection, &dealer));
                replace_inbound(&peers, connected.collect());
            }
        });
        let numbers: FxHashSet<_> = peers.all().iter().map(|peer| peer.number()).collect();
        assert_eq!(numbers.len(), 2 * PEERS as usize);
    }
}
