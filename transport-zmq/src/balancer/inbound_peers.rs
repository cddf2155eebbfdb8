//! Servers that connect to a requester, each with a peer connection of its own.
//!
//! The usual direction is the other one: a requester connects to the endpoints of its servers. If
//! it binds instead, the engine reports which peers are connected, and a task here adds and removes
//! their connections.

use std::sync::{Arc, OnceLock, Weak};

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use rustc_hash::FxHashSet;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::peer::{PeerConnection, PeerKind};
use super::peer_set::PeerSet;
use super::state::PRUNE_INTERVAL;
use crate::engine::{ClientRouter, InboundPeer, SocketControl};
use crate::wire::{Batched, Frames};

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
        let each = |(connection, frames)| {
            stream::iter(Batched::new(frames)).map(move |frames| (connection, frames))
        };
        self.router.replies().flat_map(each).boxed()
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

/// Updates a peer set with each change of the connections. Every five seconds without a change,
/// removes expired calls, since inbound connections have no supervisor that does.
///
/// Each change restarts the five seconds. Peers that come and go more often delay the removal, and
/// the aging of notices to leave.
async fn update(peers: Weak<PeerSet>, mut connected: BoxStream<'static, Vec<InboundPeer>>) {
    loop {
        let next = timeout(PRUNE_INTERVAL, connected.next()).await;
        let Some(peers) = peers.upgrade() else { return };
        match next {
            Ok(Some(connected)) => replace_inbound(&peers, connected),
            Ok(None) => return,
            Err(_) => peers.all().iter().for_each(|peer| peer.prune()),
        }
    }
}

/// Adds the new peers to a set, and removes those that are not connected any more.
///
/// The removed peers leave the set first and are then marked as lost, which fails their calls. New
/// peers are in the set before they are marked as connected, which wakes the senders that wait for
/// a peer.
///
/// Each new peer gets the lowest number that no peer of the set has.
fn replace_inbound(peers: &PeerSet, connected: Vec<InboundPeer>) {
    let ids: FxHashSet<u64> = connected.iter().map(|peer| peer.connection).collect();
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    peers.replace(|peers, state| {
        let is_gone = |peer: &mut Arc<PeerConnection>| matches!(peer.kind(), PeerKind::Inbound(id) if !ids.contains(&id));
        removed.extend(peers.extract_if(.., is_gone));
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
    removed.iter().for_each(|peer| _ = peer.set_lost());
    for peer in &added {
        peer.log_inbound();
        peer.set_connected();
    }
}
